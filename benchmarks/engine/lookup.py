"""Prompt-lookup speculation on RAG answers that quote: tokens per second with drafts of 4 and 8 tokens, and without.

The prompt holds a passage and asks for it word by word; drafts come from the prompt, and greedy text must be the same
with and without them. Four passages a run; the prompts are in the cache but for their last token. At 1.3 times and more
it may be switched on by default; below, it stays off, which is no failure. The random Phi-3 quotes nothing: there the
figure is what useless drafts cost.

    python benchmarks/engine/lookup.py --model starter
    python benchmarks/engine/lookup.py --model /tmp/phi3-shape.gguf --tokens 48
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from rows import Comparison, Run, chat_prompt, conclude, measure, open_engine, prose, start, write

if TYPE_CHECKING:
    from phireside.models.engine import Engine

DRAFTS = (4, 8)
WITHOUT = "without drafts"


def main() -> int:
    """Measure in turns; 1 if a text differs."""
    options = start(
        __doc__,
        n_ctx=2048,
        tokens=(128, "most tokens of an answer"),
        passages=(4, "passages"),
        sentences=(5, "of each"),
    )
    with ExitStack() as stack:
        engines = {WITHOUT: stack.enter_context(open_engine(options))}
        for most in DRAFTS:
            engines[f"drafts of {most}"] = stack.enter_context(open_engine(options, draft_tokens=most))
        results = measure(options, {name: partial(answers, engine, options) for name, engine in engines.items()})
    different = sum(pair[name].detail != pair[WITHOUT].detail for pair in results for name in engines)
    problems = [f"{different} times a text with drafts differs from the one without"] if different else []
    print(f"the first answer: {results[0][WITHOUT].detail[0]!r}")
    comparisons = [
        Comparison(f"prompt lookup, {name}", name, WITHOUT, "tokens/s", 1.3, optional=True)
        for name in engines
        if name != WITHOUT
    ]
    return conclude(options, results, comparisons, problems)


def answers(engine: "Engine", options: argparse.Namespace, pair: int) -> Run:
    """All passages quoted, one after another."""
    from phireside.models.engine import Request, Sampling

    numbers: Sequence[int] = range(8000 + pair * options.passages, 8000 + (pair + 1) * options.passages)
    prompts = [chat_prompt(engine, question(number, options.sentences)) for number in numbers]
    runs = [write(engine, Request(tuple(tokens), Sampling(temperature=0.0), options.tokens)) for tokens in prompts]
    return Run(sum(run.seconds for run in runs), sum(run.tokens for run in runs), [run.detail for run in runs])


def question(number: int, sentences: int) -> str:
    """A passage, and the wish to read it."""
    passage = prose(number, sentences)
    return f"Passage:\n{passage}\n\nQuote the passage word by word, from its beginning to its end, and add nothing."


if __name__ == "__main__":
    sys.exit(main())
