"""The scheduler's rule, in one place: which tokens go into the next batch.

Every answer that is being written gets its one token. Then come what else these answers have ready: stretches that a
grammar forces, and guesses. What is left of the batch is shared among the prompts that are still being read, a person's
before background work, each its even share and at least one token. While answers are being written, a step reads no
more of the prompts than takes about a quarter of a second, so that a long prompt never stops another's stream.

Knows nothing of the cache, of who waits outside, or of what a token is.
"""

from collections.abc import Sequence, Sized
from typing import Protocol, TypeVar

from phireside.models.engine.request import Priority

STEP_SECONDS = 0.25
SMALLEST_CHUNK = 16  # below that, llama.cpp's matrix products waste more than a smoother stream gains


class Runner(Protocol):
    """What the rule needs to know of a running request."""

    reading: bool  # whether a prompt is still being read, rather than an answer written
    priority: Priority

    @property
    def pending(self) -> Sized:
        """What it has to evaluate next: never empty."""


R = TypeVar("R", bound=Runner)


def plan_step(runs: Sequence[R], n_batch: int, read_speed: float) -> list[tuple[R, int]]:
    """The next batch: which requests, and how many of its pending tokens each.

    Args:
        runs: running requests, oldest first; at most `n_batch`.
        n_batch: most tokens of a batch.
        read_speed: tokens per second at which prompts have been read lately; 0 = not known.
    """
    writing = [run for run in runs if not run.reading]
    reading = [run for run in runs if run.reading]
    first = min((run.priority for run in reading), default=Priority.PERSON)
    waiting = sorted((run for run in reading if run.priority == first), key=lambda run: len(run.pending))
    room = n_batch - len(writing) - len(waiting)
    plan = []
    for run in writing:
        more = min(len(run.pending) - 1, room)
        room -= more
        plan.append((run, 1 + more))
    room += len(waiting)
    if writing:
        room = min(room, max(SMALLEST_CHUNK, len(waiting), int(read_speed * STEP_SECONDS)))
    for left, run in zip(range(len(waiting), 0, -1), waiting, strict=True):
        count = min(len(run.pending), room // left)  # what a short prompt leaves goes to the longer ones
        room -= count
        plan.append((run, count))
    return plan
