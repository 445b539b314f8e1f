"""What several tests ask of the engine: one answer, one greedy answer worked out without it, and how close a call was.

llama.cpp's logits depend a little on what shares a batch and on which cells of the cache tokens lie in: it takes
another path for one token than for many, and adds up in another order. On SmolLM2 in Q4_1, whose activations are
rounded to 8 bits, the same text gave logits up to 1.2 apart, without any engine; the random F16 model 0.01. So a greedy
choice between two good tokens may fall either way. `Judge` tells such a near-tie from a wrong text: it evaluates prompt
and answer by plain calls of llama.cpp, in several ways, and looks how far the logits move.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from phireside.models.engine import Ended, Engine, Event, Request, Sampling, ScoreRequest, Vocabulary
from phireside.models.engine.context import BatchItem, Context, Weights
from phireside.models.engine.job import Job
from phireside.models.engine.request import Sink
from phireside.models.engine.text import TextStream
from phireside.settings import EngineSettings

GREEDY = Sampling(temperature=0)
# Without flash attention the random model's logits hardly depend on what else is in the cache.
SMALL = EngineSettings(
    n_ctx=512, cache_tokens=1536, n_batch=64, n_sequences=6, n_threads=1, n_threads_batch=1, flash_attn="off"
)
NEAR = 1e-3  # in logits
COMPANY = 7  # other sequences beside the one that is judged


def ask(engine: Engine, prompt: Sequence[int], max_tokens: int | None = 16, **options: object) -> tuple[str, Ended]:
    """The text of one greedy answer (unless `sampling` says otherwise), and its end."""
    request = Request(tuple(prompt), max_tokens=max_tokens, **{"sampling": GREEDY, **options})
    answer = engine.complete(request)
    text = "".join(answer)
    assert answer.ended
    return text, answer.ended


def begin_scores(
    engine: Engine, prefix: Sequence[int], continuations: Sequence[Sequence[int]]
) -> tuple[Job, "Future[Event]"]:
    """`Engine.score` without waiting: the job, which can be cancelled, and what will be its one event."""
    heard: Future[Event] = Future()
    job = engine._job(ScoreRequest(tuple(prefix), tuple(map(tuple, continuations))), heard.set_result)
    engine._put(job)
    return job, heard


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


@contextmanager
def recorded() -> Iterator[list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """Prompt and answer, in tokens, of every request that an engine of this process ends meanwhile."""
    answers: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    submit = Engine.submit

    def recording(engine: Engine, request: Request, sink: Sink) -> Job:
        def listen(event: Event) -> None:
            if isinstance(event, Ended):
                answers.append((request.tokens, event.tokens))
            sink(event)

        return submit(engine, request, listen)

    with patch.object(Engine, "submit", recording):
        yield answers


class Judge:
    """A model evaluated without the engine: one sequence, one batch, the plain way.

    Args:
        path: a GGUF file.
        longest: tokens that prompt and answer may have.
        base: the engine's settings, for what changes the arithmetic.
    """

    def __init__(self, path: Path, longest: int = 1024, base: EngineSettings | None = None) -> None:
        sizes = {"n_batch": longest, "n_sequences": COMPANY + 1}
        settings = (base or EngineSettings()).model_copy(update=sizes)
        self.vocabulary = Vocabulary(path)
        self._weights = Weights(path, settings)
        self._context = Context(self._weights, settings, (COMPANY + 1) * longest, COMPANY + 1, (1, 1))
        self._known: dict[tuple[int, ...], list[int]] = {}
        self._logprobs: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}

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

    def logprob(self, prefix: Sequence[int], continuation: Sequence[int]) -> float:
        """The sum of the natural log-probabilities of a continuation's tokens."""
        key = (tuple(prefix), tuple(continuation))
        if key not in self._logprobs:
            tokens = [*prefix, *continuation[:-1]]
            rows = self._evaluate(tokens, [len(tokens)])[len(prefix) - 1 :]
            norms = [row.max() + np.log(np.exp(row - row.max()).sum(dtype=np.float64)) for row in rows]
            each = zip(rows, continuation, norms, strict=True)
            self._logprobs[key] = float(sum(row[token] - norm for row, token, norm in each))
        return self._logprobs[key]

    def doubt(self, prompt: Sequence[int], answer: Sequence[int]) -> float:
        """How far below the best logit an answer's worst choice was, beyond llama.cpp's own uncertainty there.

        Under NEAR, the answer is greedy: every token was the most probable, or one of two between which llama.cpp alone
        moves by as much when it evaluates the same tokens in other batches.
        """
        if not answer:
            return 0.0
        whole, steps = [len(prompt) + len(answer)], [len(prompt), *[1] * len(answer)]
        ways = [
            (steps, 0, 0),
            (steps, 0, 6),
            (steps, 3, 0),
            (steps, COMPANY, 20),
            (whole, 0, 0),
            ([8] * whole[0], 2, 0),
        ]
        for first in {len(prompt) - 1, len(prompt) * 3 // 4, len(prompt) // 3} - {0}:  # as where a beginning is reused
            pieces = [first, len(prompt) - first, *steps[1:]]
            ways += [(pieces, company, holes) for company in (0, 2) for holes in (3, 12, 20)]
        gaps: list[list[float]] = []
        doubt = 0.0
        for way in ways:
            gaps.append(self._gaps([*prompt, *answer[:-1]], *way, answer))
            low, high = np.min(gaps, axis=0), np.max(gaps, axis=0)
            doubt = float((low - (high - low)).max())
            if doubt < NEAR:  # more ways can only lessen it
                break
        return doubt

    def _gaps(
        self, tokens: list[int], sizes: list[int], company: int, holes: int, answer: Sequence[int]
    ) -> list[float]:
        """Best logit minus that of the token chosen, for each token of an answer."""
        rows = self._evaluate(tokens, sizes, company, holes)[-len(answer) :]
        return [float(row.max() - row[token]) for row, token in zip(rows, answer, strict=True)]

    def _continue(self, prompt: list[int], count: int) -> list[int]:
        answer: list[int] = []
        row = self._evaluate(prompt, [len(prompt)])[-1]
        while len(answer) < count:
            answer.append(int(row.argmax()))
            if len(answer) == count or self.vocabulary.is_end(answer[-1]):
                break
            assert self._context.decode([BatchItem(answer[-1], len(prompt) + len(answer) - 1, 0, True)]) == 0
            row = self._context.logits(0)
        return answer

    def _evaluate(
        self, tokens: list[int], sizes: Sequence[int], company: int = 0, holes: int = 0
    ) -> list[NDArray[np.float32]]:
        """The logits after each token.

        Args:
            tokens: of one sequence.
            sizes: how many of them share a batch.
            company: other sequences that write a token in every batch.
            holes: cells in front of the first batch that are free afterwards, and taken by what comes later.
        """
        for sequence in range(COMPANY + 1):
            self._context.trim(sequence, 0)
        if holes:
            assert self._context.decode([BatchItem(tokens[0], i, COMPANY, False) for i in range(holes)]) == 0
        rows, start = [], 0
        for step, size in enumerate(sizes):
            own = [BatchItem(token, start + i, 0, True) for i, token in enumerate(tokens[start : start + size])]
            others = [
                BatchItem(tokens[step * n % len(tokens)], step - bool(holes), n, True) for n in range(1, company + 1)
            ]
            if own:
                assert self._context.decode([*own, *(others if step or not holes else [])]) == 0
                rows += [self._context.logits(i).copy() for i in range(len(own))]
            if step == 0 and holes:
                self._context.trim(COMPANY, 0)
            start += size
        return rows
