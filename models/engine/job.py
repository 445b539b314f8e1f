"""A request while it is served: `Job` from the queue to its last event, `Run` while it has a sequence of the cache.

Both live in the engine's thread; only `Job.cancel` may be called from others. They know nothing of batches.
"""

import time
from collections.abc import Callable

from phireside.errors import PhiresideError
from phireside.models.engine.native import Sampler, Vocabulary
from phireside.models.engine.request import Ended, Event, Failed, FinishReason, Request, Sink, Text, Usage
from phireside.models.engine.sequences import Sequence
from phireside.models.engine.text import TextStream


class Job:
    """A request and who listens to it.

    Args:
        request: what is asked.
        limit: most tokens to generate.
        sink: receives the events.
        on_cancel: called when the request is cancelled while it runs, in the caller's thread.
    """

    def __init__(self, request: Request, limit: int, sink: Sink, on_cancel: Callable[[], None]) -> None:
        self.request, self.limit = request, limit
        self.asked = time.monotonic()
        self.cancelled = False
        self.running = False  # has a sequence: its cancel breaks off a batch, that of a waiting one disturbs nobody
        self.ended = False
        self._sink, self._on_cancel = sink, on_cancel

    @property
    def need(self) -> int:
        """Cells of the cache that the request may come to need."""
        return len(self.request.tokens) + self.limit

    def cancel(self) -> None:
        """End the request within one step; what was written so far stays written. May be called from any thread."""
        if not (self.cancelled or self.ended):
            self.cancelled = True
            if self.running:
                self._on_cancel()

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
        self.send(Ended(Usage("cancelled", len(self.request.tokens), 0, 0, 0, waited, 0.0, 0.0), (), exact=True))

    def fail(self, error: PhiresideError) -> None:
        """End with an error."""
        self.send(Failed(error))


class Run:
    """A job that has a sequence.

    Args:
        job: the request.
        sequence: holds the first `cached` tokens of the prompt.
        cached: tokens of the prompt that need not be evaluated.
        sampler: chooses the tokens; closed at the end.
        vocabulary: turns tokens into text.
    """

    def __init__(self, job: Job, sequence: Sequence, cached: int, sampler: Sampler, vocabulary: Vocabulary) -> None:
        self.job, self.sequence, self.sampler, self._vocabulary = job, sequence, sampler, vocabulary
        self.priority = job.request.priority
        self.pending = list(job.request.tokens[cached:])
        self.reading = True
        self._cached = cached
        self._generated: list[int] = []
        self._text = TextStream(job.request.stop)
        self._started = time.monotonic()
        self._first = self._last = 0.0

    def advance(self, count: int) -> bool:
        """`count` pending tokens are in the cache now; True if the next token can be sampled."""
        self.sequence.tokens += self.pending[:count]
        del self.pending[:count]
        return not self.pending

    def evaluate_again(self, lost: list[int]) -> None:
        """Tokens that were in the cache are lost: read them once more, before what was pending."""
        if lost:
            self.pending[:0] = lost
            self.reading, self._cached = True, 0

    def write(self, token: int) -> bool:
        """Take a sampled token; True if the answer ended with it."""
        self._last = time.monotonic()
        self._first = self._first or self._last
        self.reading = False
        if self._vocabulary.is_end(token):
            return self.end("stop")
        self._generated.append(token)
        self.pending = [token]
        if text := self._text.push(self._vocabulary.piece(token)):
            self.job.send(Text(text))
        if self._text.stopped:
            return self.end("stop")
        return len(self._generated) >= self.job.limit and self.end("length")

    def end(self, reason: FinishReason) -> bool:
        """Send the rest of the text and the figures; True."""
        if rest := self._text.finish():
            self.job.send(Text(rest))
        prompt, now = len(self.job.request.tokens), time.monotonic()
        unread = 0 if self._first else len(self.pending)
        usage = Usage(
            finish_reason=reason,
            prompt_tokens=prompt,
            cached_tokens=self._cached,
            evaluated_tokens=prompt - self._cached - unread,
            generated_tokens=len(self._generated),
            queue_s=self._started - self.job.asked,
            time_to_first_token_s=(self._first or now) - self.job.asked,
            decode_s=self._last - self._first,
        )
        self.job.send(Ended(usage, tuple(self._generated), self._text.exact))
        return True
