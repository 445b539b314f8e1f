"""What n samples cost beside one: seconds of `self_consistency(8)` and of `self_consistency(1)`. Goal: at most 2.5.

The eight are measured twice: as the chain runs them, where a vote that is decided ends the paths that are left; and all
to their end, where no two answers count as the same.

Two prompts: a SVAMP problem behind the book's example (some 170 tokens), and the same behind a story (some 800). Every
run has a prompt of its own, so that none is in a cache. The ratio depends on the prompt's length: reading is paid once,
writing is not.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from common import Spread, ratios, take_turns
from engine.rows import prose
from reasoning_parts.shared import Ratio, ours
from reasoning_parts.svamp import read

if TYPE_CHECKING:
    from phireside.chains import Form, Reasoned

SAMPLES, GOAL = 8, 2.5
ONE, DECIDED, WHOLE = "1 sample", f"{SAMPLES} samples until the vote is decided", f"{SAMPLES} samples, each to its end"
STORY = 48  # sentences, some 13 tokens each


def rows(options: argparse.Namespace) -> Iterator[Ratio]:
    """Two rows for each length of the prompt."""
    for name, sentences in (("SVAMP problem", 0), ("SVAMP problem behind a story", STORY)):
        arms = {arm: partial(_run, options, arm, sentences) for arm in (ONE, DECIDED, WHOLE)}
        take_turns({name: lambda _, arm=arm: arm(-1) for name, arm in arms.items()}, 1)  # loads, compiles the grammar
        results = take_turns(arms, max(5, options.pairs))
        for many in (DECIDED, WHOLE):
            yield compare(name, many, results)


def compare(name: str, many: str, results: "list[dict[str, tuple[float, Reasoned]]]") -> Ratio:
    """The ratio of seconds within pairs, and both sides' medians."""
    spread = ratios(results, many, ONE, lambda run: run[0])
    more: dict[str, Any] = {"goal": f"{GOAL}, {'met' if spread.median <= GOAL else 'MISSED'}"}
    for arm in (many, ONE):
        costs = [pair[arm][1].cost for pair in results]
        read_, wrote = (
            Spread.of([getattr(cost, what) for cost in costs]) for what in ("evaluated_tokens", "generated_tokens")
        )
        seconds = Spread.of([pair[arm][0] for pair in results])
        more[arm] = f"{seconds.text(2)} s, read {read_.text(0)}, wrote {wrote.text(0)} tokens"
    return Ratio("samples", f"{many}, and 1: {name}", spread.median, spread.low, spread.high, more)


def all_different(form: "Form[Any]") -> "Form[Any]":
    """The form, but no value equals another: a vote among them is never decided."""
    return replace(form, parse=lambda text: (object(), form.parse(text)))


def _run(options: argparse.Namespace, arm: str, sentences: int, pair: int) -> "tuple[float, Reasoned]":
    from phireside.chains import self_consistency
    from phireside.chains.forms import number
    from phireside.chains.prompt_files import load_prompts

    own = 1000 * (pair + 2) + 10 * (ONE, DECIDED, WHOLE).index(arm) + bool(sentences)
    shown, answer = load_prompts("chain_of_thought").messages("examples")
    first = f"{prose(own, sentences)}\n\n{shown.text}"
    question = read(options.data / "svamp-150.json")[pair + 1][0]
    model = ours(options, seed=pair + 2)
    form = all_different(number()) if arm == WHOLE else number()
    chain = self_consistency(
        1 if arm == ONE else SAMPLES,
        model=model,
        form=form,
        examples=[(first, answer.text)],
        max_tokens=options.max_tokens,
    )
    begun = time.perf_counter()
    result = chain.invoke(question)
    return time.perf_counter() - begun, result
