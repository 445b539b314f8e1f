"""64 continuations of an 800-token prefix scored: `Engine.score` and one `Llama` call with `logprobs` each. Target: 10.

Seconds for all 64 sums of log-probabilities, which must agree within `--tolerance` thousandths per token: llama.cpp
alone gives sums that differ by 0.04 per token when it evaluates SmolLM2 at once or token by token.

The peer is a `llama_cpp.Llama` with `logits_all=True`, which `logprobs` needs, called in two ways. "echo" is the call
that one finds in examples: prefix and continuation as prompt, `echo=True`, `logprobs=1`. It sorts the vocabulary in
Python for each token of the prefix, so that a call takes half a minute: two are made, and the second counts 63 times.
"forced" is the fastest call that we found: the prefix as prompt and a `logits_processor` that leaves only the
continuation's next token. Either finds the prefix in its cache from the second call on.

    python benchmarks/engine/scoring.py --model starter
    python benchmarks/engine/scoring.py --model /tmp/phi3-shape.gguf
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rows import Comparison, Run, conclude, measure, open_engine, open_llama, prompt, prose, start, text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from phireside.models.engine import Engine, Vocabulary

Tokens = Sequence[int]


def main() -> int:
    """Measure in turns; 1 if a median is below the target or the scores differ."""
    options = start(
        __doc__,
        n_ctx=2048,
        continuations=(64, "continuations"),
        length=(800, "tokens of the prefix"),
        tokens=(6, "tokens of each continuation"),
        tolerance=(100, "thousandths by which a token's log-probability may differ"),
    )
    with open_engine(options) as engine:
        llama = open_llama(options, logits_all=True)

        def task(score: Callable[[Tokens, list[list[int]]], tuple[float, list[float]]], pair: int) -> Run:
            prefix = beginning(engine.vocabulary, 4000 + pair, options.length)
            tails = [ending(engine.vocabulary, number, options.tokens) for number in range(options.continuations)]
            seconds, scores = score(prefix, tails)
            return Run(seconds, sum(map(len, tails)), scores)

        arms = {
            "Engine.score": partial(task, partial(ours, engine)),
            "Llama, forced": partial(task, partial(theirs, partial(forced, llama), options.continuations)),
            "Llama, echo": partial(task, partial(theirs, partial(echoed, llama), 2)),
        }
        results = measure(options, arms)
    pairs = [
        (a, b)
        for result in results
        for peer in ("Llama, forced", "Llama, echo")
        for a, b in zip(result["Engine.score"].detail, result[peer].detail, strict=False)
    ]
    worst = max(abs(a - b) for a, b in pairs) / options.tokens
    print(f"greatest difference of two scores: {worst:.4f} per token, of {len(pairs)}")
    problems = [f"scores differ by {worst:.3f} per token"] if worst > options.tolerance / 1000 else []
    row = f"{options.continuations} continuations scored"
    comparisons = [
        Comparison(f"{row}, echo (2 calls, scaled)", "Engine.score", "Llama, echo", "s", 10.0),
        Comparison(f"{row}, forced", "Engine.score", "Llama, forced", "s", 10.0),
    ]
    return conclude(options, results, comparisons, problems)


def beginning(vocabulary: "Vocabulary", number: int, length: int) -> list[int]:
    """Begin-of-text and whole sentences of at most `length` tokens: text that splits the same with more behind it."""
    story = text(vocabulary, prompt(vocabulary, number, length - 1))
    return [vocabulary.bos, *vocabulary.tokenize(story[: story.rindex(".") + 1], markers=False)]


def ending(vocabulary: "Vocabulary", number: int, length: int) -> list[int]:
    """The first `length` tokens of a sentence as they follow a full stop."""
    sentence = prose(number, 3).partition(".")[2]
    stop = vocabulary.tokenize(".", markers=False)
    return vocabulary.tokenize(f".{sentence}", markers=False)[len(stop) :][:length]


def ours(engine: "Engine", prefix: Tokens, tails: list[list[int]]) -> tuple[float, list[float]]:
    """One prefill, one batch; seconds and scores."""
    begun = time.perf_counter()
    scores = engine.score(prefix, tails)
    return time.perf_counter() - begun, [score.logprob for score in scores]


def theirs(
    call: Callable[[Tokens, Tokens], float], most: int, prefix: Tokens, tails: list[list[int]]
) -> tuple[float, list[float]]:
    """One call for each of the first `most`; the last one's time stands for those that are left."""
    times, scores = [], []
    for tail in tails[:most]:
        begun = time.perf_counter()
        scores.append(call(prefix, tail))
        times.append(time.perf_counter() - begun)
    return sum(times) + times[-1] * (len(tails) - len(times)), scores


def forced(llama: Any, prefix: Tokens, tail: Tokens) -> float:
    """The continuation as the only answer possible."""
    import numpy as np
    from llama_cpp import LogitsProcessorList

    def only_next(_seen: "NDArray[np.intc]", logits: "NDArray[np.single]") -> "NDArray[np.single]":
        rest = np.full_like(logits, -np.inf)
        rest[tail[llama.n_tokens - len(prefix)]] = 0.0
        return rest

    processors = LogitsProcessorList([only_next])
    answer = llama(list(prefix), max_tokens=len(tail), temperature=0.0, logprobs=1, logits_processor=processors)
    return float(sum(answer["choices"][0]["logprobs"]["token_logprobs"]))


def echoed(llama: Any, prefix: Tokens, tail: Tokens) -> float:
    """The continuation as the end of an echoed prompt, which must be a text.

    llama-cpp-python gives each token its neighbour's probability unless the prompt begins with the begin-of-text token.
    """
    prompt_text = llama.detokenize([*prefix[1:], *tail]).decode().lstrip()
    if not llama._model.add_bos_token():
        prompt_text = llama._model.token_get_text(llama.token_bos()) + prompt_text
    answer = llama(prompt_text, max_tokens=1, temperature=0.0, logprobs=1, echo=True)
    if answer["usage"]["prompt_tokens"] != len(prefix) + len(tail):
        sys.exit("The text was read as other tokens than those it was made of.")
    return float(sum(answer["choices"][0]["logprobs"]["token_logprobs"][-1 - len(tail) : -1]))


if __name__ == "__main__":
    sys.exit(main())
