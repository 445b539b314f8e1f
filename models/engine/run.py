"""What every request has and can while it has a sequence of the cache. Knows nothing of what is asked."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence as Items

from phireside.models.engine.context import BatchItem, Context
from phireside.models.engine.job import Job
from phireside.models.engine.request import FinishReason
from phireside.models.engine.sequences import Sequence, SequencePool


class Run(ABC):
    """A job that has a sequence.

    Args:
        job: the request.
        sequence: holds the first `cached` tokens of its prompt.
        cached: tokens of the prompt that need not be evaluated.
        restored: of these, how many were read from disk.
        context: where it is evaluated.
        pool: whose the sequence is.
    """

    reading = True  # whether a prompt is still being read, rather than an answer written

    def __init__(
        self, job: Job, sequence: Sequence, cached: int, restored: int, context: Context, pool: SequencePool
    ) -> None:
        self.job, self.sequence, self.priority = job, sequence, job.request.priority
        self._cached, self._restored = cached, restored
        self._context, self._pool = context, pool
        self._started = time.monotonic()

    @property
    @abstractmethod
    def pending(self) -> Items[object]:
        """What it has to evaluate next: never empty."""

    @abstractmethod
    def items(self, count: int) -> list[BatchItem]:
        """The next `count` of them for a batch."""

    @abstractmethod
    def advance(self, count: int, first: int) -> bool:
        """They were evaluated, as the batch's items from `first` on; True if the request has ended."""

    @abstractmethod
    def recover(self) -> None:
        """A batch was broken off: what it had evaluated of this request is evaluated again."""

    @abstractmethod
    def end(self, reason: FinishReason) -> bool:
        """Send the last event; True."""

    @abstractmethod
    def close(self) -> None:
        """Free what it holds beside its sequence."""
