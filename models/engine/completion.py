"""What a caller holds while an answer is written: an iterator over its text. Knows the engine by its events only."""

import queue
import weakref
from collections.abc import Callable, Iterator

from phireside.models.engine.job import Job
from phireside.models.engine.request import Ended, Event, Failed, Sink, Text, Usage


class Completion:
    """The answer to one request, as an iterator over pieces of text. Dropping it cancels the request.

    Args:
        submit: hands the request to the engine, with the sink for its events.
    """

    def __init__(self, submit: Callable[[Sink], Job]) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._job = submit(self._events.put)
        weakref.finalize(self, self._job.cancel)
        self.ended: Ended | None = None

    @property
    def usage(self) -> Usage | None:
        """The figures, once the answer has ended."""
        return self.ended.usage if self.ended else None

    @property
    def ahead(self) -> int:
        """Its place in the queue: 1 = next; 0 = it is being served."""
        return self._job.ahead

    def __iter__(self) -> Iterator[str]:
        while self.ended is None:
            event = self._events.get()
            if isinstance(event, Text):
                yield event.text
                continue
            self._events.put(event)  # for whoever asks again
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Ended):
                self.ended = event

    def cancel(self) -> None:
        """End the answer within one step; the iterator then ends."""
        self._job.cancel()
