"""What an engine does now, and what it has done since it was made: the figures of all requests, added up. No texts."""

import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

from phireside.models.engine.request import Ended, Event, Scored, Sink, Text, Usage

State = Literal["unloaded", "loading", "ready", "closed"]

RECENT_S = 5.0  # seconds over which the speed of writing is taken
_MOST_PIECES = 10_000


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the requests that have ended; times in seconds.

    `pieces_per_second` is of all that is being written now: a piece of text is nearly always one token.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    evaluated_tokens: int = 0
    generated_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    pieces_per_second: float = 0.0

    def plus(self, usage: Usage) -> "Totals":
        """With one more request."""
        return Totals(
            self.requests + 1,
            self.prompt_tokens + usage.prompt_tokens,
            self.cached_tokens + usage.cached_tokens,
            self.evaluated_tokens + usage.evaluated_tokens,
            self.generated_tokens + usage.generated_tokens,
            self.prefill_s + usage.prefill_s,
            self.decode_s + usage.decode_s,
        )


@dataclass(frozen=True, slots=True)
class Stats:
    """What an engine is doing; cells are tokens of the KV cache."""

    state: State
    running: int
    waiting: int
    parked: int
    cells: int
    cells_used: int
    n_ctx: int
    n_threads: int
    n_threads_batch: int
    served: Totals


class Tally:
    """Adds up what passes through sinks."""

    def __init__(self) -> None:
        self._totals = Totals()
        self._pieces = deque[float](maxlen=_MOST_PIECES)  # when each was sent
        self._lock = threading.Lock()

    def of(self, sink: Sink) -> Sink:
        """The sink of a request, with its events counted on the way."""

        def pass_on(event: Event) -> object:
            self._count(event)
            return sink(event)

        return pass_on

    def totals(self) -> Totals:
        """The figures so far."""
        since = time.monotonic() - RECENT_S
        with self._lock:
            recent = sum(moment >= since for moment in self._pieces)
            return replace(self._totals, pieces_per_second=recent / RECENT_S)

    def _count(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Text):
                self._pieces.append(time.monotonic())
            elif isinstance(event, Ended | Scored):
                self._totals = self._totals.plus(event.usage)
