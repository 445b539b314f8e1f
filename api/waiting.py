"""How many requests are served or wait at once. One more is refused, with the seconds after which to come again.

Knows nothing of what a request asks for.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from phireside.api.errors import BusyError
from phireside.errors import RequestError

_SLOWEST = 60  # seconds, the longest wait that is advised
_NEW = 0.2  # weight of the last request in the mean of seconds


class Gate:
    """Lets requests in. For one event loop: nothing here waits.

    Args:
        at_once: those that a model answers at the same time.
        most_waiting: those that may wait besides.
    """

    def __init__(self, at_once: int, most_waiting: int) -> None:
        self.at_once, self.most_waiting = at_once, most_waiting
        self.inside = 0
        self._seconds = 1.0  # that a request takes, a moving mean

    @property
    def most(self) -> int:
        """Requests that may be inside."""
        return self.at_once + self.most_waiting

    @contextmanager
    def entered(self, answers: int = 1) -> Iterator[None]:
        """Be inside, with so many answers.

        Raises:
            BusyError: there is no room now.
            RequestError: there never is.
        """
        if answers > self.most:
            raise RequestError(
                f"n is {answers}, but this server writes at most {self.most} answers at once.", hint="Ask for fewer."
            )
        if self.inside + answers > self.most:
            raise BusyError(
                f"{self.inside} answers are being written or waited for, and the limit is {self.most}.",
                self._wait(answers),
            )
        self.inside += answers
        began = time.monotonic()
        try:
            yield
        finally:
            self.inside -= answers
            self._seconds += _NEW * (time.monotonic() - began - self._seconds)

    def _wait(self, answers: int) -> int:
        """Seconds until there may be room."""
        too_many = self.inside + answers - self.most
        return max(1, min(_SLOWEST, math.ceil(self._seconds * too_many / self.at_once)))
