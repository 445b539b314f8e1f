"""The probabilities of many continuations of one prefix: the prefix is read once, then all of them in one batch.

Each continuation gets a sequence of its own that shares the prefix's cells; these sequences are not the pool's, so that
no parked conversation has to go. More continuations than there are sequences, or than fit a batch, come in waves.
Without any, the logits that follow the prefix are the answer.
Knows nothing of sampling or text.
"""

import time
from collections.abc import Sequence as Items
from typing import cast

import numpy as np
from numpy.typing import NDArray

from phireside.models.engine.context import BatchItem, Context
from phireside.models.engine.job import Job
from phireside.models.engine.request import FinishReason, Score, Scored, ScoreRequest, Usage
from phireside.models.engine.run import Run
from phireside.models.engine.sequences import Sequence, SequencePool


class Scoring(Run):
    """A `ScoreRequest` that has a sequence. It counts as reading from first to last.

    Args:
        job, sequence, cached, restored, context, pool: see `Run`; the prompt is the prefix.
        waves: the continuations by number, as `plan_waves` has them.
        branches: ids of sequences that nobody else uses meanwhile, as many as the largest wave has continuations.
    """

    def __init__(
        self,
        job: Job,
        sequence: Sequence,
        cached: int,
        restored: int,
        context: Context,
        pool: SequencePool,
        waves: list[range],
        branches: range,
    ) -> None:
        super().__init__(job, sequence, cached, restored, context, pool)
        request = cast(ScoreRequest, job.request)
        self._prefix, self._continuations, self._branches = request.tokens, request.continuations, branches
        self._unread: list[int] = list(self._prefix[cached:])
        self._wave: list[tuple[int, int]] = []  # (continuation, position of a token in it) still to be evaluated
        self._waves = waves
        self._first: list[float] = []  # log-probabilities of the first tokens, which follow the prefix itself
        self._rest = [0.0] * len(self._continuations)  # of the tokens after them
        self._logits: NDArray[np.float32] | None = None

    @property
    def pending(self) -> Items[object]:
        """See `Run`."""
        return self._unread or self._wave

    def items(self, count: int) -> list[BatchItem]:
        """The next `count` of them; logits are wanted after the prefix, and after every token of a continuation."""
        start, last = len(self.sequence.tokens), len(self._unread) - 1
        if self._unread:
            unread = enumerate(self._unread[:count])
            return [BatchItem(token, start + i, self.sequence.id, i == last) for i, token in unread]
        return [
            BatchItem(self._continuations[number][at], len(self._prefix) + at, self._branch(number), True)
            for number, at in self._wave[:count]
        ]

    def advance(self, count: int, first: int) -> bool:
        """`count` pending tokens were evaluated as the batch's items from `first` on; True if all is scored."""
        if self._unread:
            self.sequence.extend(self._unread[:count])
            del self._unread[:count]
            if self._unread:
                return False
            following = [continuation[0] for continuation in self._continuations]
            self._first = self._context.logprobs(first + count - 1, following).tolist()
            self._logits = None if following else self._context.logits(first + count - 1).copy()
        else:
            for index, (number, at) in enumerate(self._wave[:count], first):
                token = self._continuations[number][at + 1]
                self._rest[number] += float(self._context.logprobs(index, [token])[0])
            del self._wave[:count]
            if not self._wave:
                del self._waves[0]
        while self._waves and not self._wave:
            self._begin_wave()
        return not self._waves and self.end("stop")

    def recover(self) -> None:
        """A batch was broken off: the present wave, or what was lost of the prefix, is evaluated again."""
        lost = self._pool.rewind(self.sequence)
        self._unread[:0] = lost
        self._wave = []
        if lost:
            self._cached = self._restored = 0
        elif self._waves and not self._unread:
            self._begin_wave()

    def end(self, reason: FinishReason) -> bool:
        """Send the scores; True."""
        prompt, now = len(self._prefix), time.monotonic()
        usage = Usage(
            finish_reason=reason,
            prompt_tokens=prompt,
            cached_tokens=self._cached,
            restored_tokens=self._restored,
            evaluated_tokens=prompt - self._cached - len(self._unread),
            queue_s=self._started - self.job.asked,
            prefill_s=now - self._started,
        )
        every = zip(self._first, self._rest, self._continuations, strict=True) if reason == "stop" else ()
        scores = tuple(Score(one + rest, len(tokens)) for one, rest, tokens in every)
        self.job.send(Scored(scores, usage, self._logits))
        return True

    def close(self) -> None:
        """Empty the branches."""
        for branch in self._branches:
            self._context.trim(branch, 0)

    def _begin_wave(self) -> None:
        """Give each continuation of the next wave its branch. Those of one token are scored already."""
        self.close()
        wave = [number for number in self._waves[0] if len(self._continuations[number]) > 1]
        for number in wave:
            self._rest[number] = 0.0
            self._context.copy(self.sequence.id, self._branch(number), len(self._prefix))
        self._wave = [(number, at) for number in wave for at in range(len(self._continuations[number]) - 1)]
        if not self._wave:
            del self._waves[0]

    def _branch(self, number: int) -> int:
        return self._branches[number - self._waves[0].start]


def plan_waves(continuations: Items[Items[int]], branches: int, tokens: int) -> tuple[list[range], int]:
    """Continuations in waves of at most `branches`, and of `tokens` tokens where one alone has not more.

    Returns:
        (the waves, the tokens that the largest of them evaluates)
    """
    waves, start, total, largest = [], 0, 0, 0
    for number, continuation in enumerate(continuations):
        more = len(continuation) - 1  # the last token needs no evaluation
        if number > start and (number - start == branches or total + more > tokens):
            waves.append(range(start, number))
            start, total = number, 0
        total += more
        largest = max(largest, total)
    return [*waves, range(start, len(continuations))], largest
