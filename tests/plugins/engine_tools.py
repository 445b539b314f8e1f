"""What several tests ask of the engine: one answer, one greedy answer worked out without it, and how close a call was.

Batched floating-point sums can differ in the last bit, and then a greedy choice between two equal logits may fall the
other way. `Judge` tells such a near-tie from a wrong text: it evaluates prompt and answer again, alone.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from phireside.models.engine import Ended, Engine, Request, Sampling, Vocabulary
from phireside.models.engine.native import BatchItem, Context, Weights
from phireside.models.engine.text import TextStream
from phireside.settings import EngineSettings

GREEDY = Sampling(temperature=0)
NEAR = 1e-3  # of a logit
LONGEST = 1024  # tokens that a judge can evaluate


def ask(engine: Engine, prompt: Sequence[int], max_tokens: int | None = 16, **options: object) -> tuple[str, Ended]:
    """The text of one greedy answer (unless `sampling` says otherwise), and its end."""
    request = Request(tuple(prompt), max_tokens=max_tokens, **{"sampling": GREEDY, **options})
    answer = engine.complete(request)
    text = "".join(answer)
    assert answer.ended
    return text, answer.ended


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Fail if a condition does not come true; the limit is for a test that would hang, not a figure."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.001)


def is_idle(engine: Engine) -> bool:
    """Whether no request waits or runs."""
    stats = engine.stats()
    return stats.running == stats.waiting == 0


class Judge:
    """A model evaluated without the engine: one sequence, one batch, the plain way.

    Args:
        path: a GGUF file.
    """

    def __init__(self, path: Path) -> None:
        settings = EngineSettings(n_batch=LONGEST, n_sequences=1)
        self.vocabulary = Vocabulary(path)
        self._weights = Weights(path, settings)
        self._context = Context(self._weights, settings, LONGEST, (1, 1))
        self._known: dict[tuple[int, ...], list[int]] = {}

    def close(self) -> None:
        """Free the model."""
        self._context.close()
        self._weights.close()

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        """The most probable continuation, token by token, up to `count` or the model's end."""
        known = self._known.setdefault(tuple(prompt), [])
        if len(known) < count and not (known and self.vocabulary.is_end(known[-1])):
            known[:] = self._continue(list(prompt), count)
        ends = (i for i, token in enumerate(known) if self.vocabulary.is_end(token))
        return known[: min(next(ends, count), count)]

    def text(self, tokens: Sequence[int], stop: Sequence[str] = ()) -> str:
        """The text of generated tokens, up to a stop string."""
        stream = TextStream(stop)
        parts = []
        for token in tokens:
            parts.append(stream.push(self.vocabulary.piece(token)))
            if stream.stopped:
                break
        return "".join(parts) + stream.finish()

    def slack(self, prompt: Sequence[int], answer: Sequence[int]) -> float:
        """How far the worst choice of an answer was below the best logit; 0 = each token was the most probable."""
        rows = self._evaluate([*prompt, *answer[:-1]])[-len(answer) :] if answer else []
        return max((float(row.max() - row[token]) for row, token in zip(rows, answer, strict=True)), default=0.0)

    def _continue(self, prompt: list[int], count: int) -> list[int]:
        answer: list[int] = []
        row = self._evaluate(prompt)[-1]
        while len(answer) < count:
            answer.append(int(row.argmax()))
            if len(answer) == count or self.vocabulary.is_end(answer[-1]):
                break
            assert self._context.decode([BatchItem(answer[-1], len(prompt) + len(answer) - 1, 0, True)]) == 0
            row = self._context.logits(0)
        return answer

    def _evaluate(self, tokens: list[int]) -> list:
        self._context.trim(0, 0)
        assert self._context.decode([BatchItem(token, i, 0, True) for i, token in enumerate(tokens)]) == 0
        return [self._context.logits(i) for i in range(len(tokens))]
