"""A request on its way through the engine, from the queue to its last event, and who listens to it.

Lives in the engine's thread; only `cancel` may be called from others, and `ahead` read. Knows nothing of batches.
"""

import time
from collections.abc import Callable

from phireside.errors import PhiresideError
from phireside.models.engine.request import Ended, Event, Failed, Request, ScoreRequest, Sink, Text, Usage
from phireside.models.grammar import Matcher


class Job:
    """A request and who listens to it.

    Args:
        request: what is asked.
        limit: most tokens to generate.
        sink: receives the events.
        on_cancel: called when the request is cancelled while it runs, in the caller's thread.
        matcher: the request's grammar at its beginning.
    """

    def __init__(
        self,
        request: Request | ScoreRequest,
        limit: int,
        sink: Sink,
        on_cancel: Callable[[], None],
        matcher: Matcher | None = None,
    ) -> None:
        self.request, self.limit, self.matcher = request, limit, matcher
        self.keep = getattr(request, "keep", "")  # the name under which its KV state is kept
        self.asked = time.monotonic()
        self.ahead = 0  # its place in the queue: 1 = next; 0 = it is being served, or nobody is before it
        self.cancelled = False
        self.running = False  # has a sequence: its cancel breaks off a batch, that of a waiting one disturbs nobody
        self.ended = False
        self._sink, self._on_cancel = sink, on_cancel

    def cancel(self) -> None:
        """End the request within one step; what was written so far stays written. May be called from any thread."""
        if not (self.cancelled or self.ended):
            self.cancelled = True
            if self.running:
                self._on_cancel()

    def forget(self, keep: str) -> None:
        """Keep nothing of it under that name."""
        if self.keep == keep:
            self.keep = ""

    def send(self, event: Event) -> None:
        """Hand an event over; if nobody listens any more (e.g. a closed event loop), the request is cancelled."""
        self.ended = self.ended or not isinstance(event, Text)
        try:
            self._sink(event)
        except Exception:  # noqa: BLE001  (the listener's fault must not end the engine's thread)
            self.cancelled = True

    def end_unstarted(self) -> None:
        """Cancelled while it was waiting."""
        waited = time.monotonic() - self.asked
        self.send(Ended(Usage("cancelled", len(self.request.tokens), queue_s=waited), (), exact=True))

    def fail(self, error: PhiresideError) -> None:
        """End with an error."""
        self.send(Failed(error))
