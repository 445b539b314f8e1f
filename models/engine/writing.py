"""An answer while it is written: tokens to evaluate, tokens chosen, text sent.

What waits to be evaluated is certain at first (the prompt, the token chosen last, what the grammar forces after it) and
then, perhaps, guessed. Knows nothing of other requests, and the cache only as the list of what it holds.
"""

import time
from typing import cast

from phireside.models.engine.context import BatchItem, Context
from phireside.models.engine.job import Job
from phireside.models.engine.lookup import Lookup
from phireside.models.engine.request import Ended, FinishReason, Request, Text, Usage
from phireside.models.engine.run import Run
from phireside.models.engine.sampler import Sampler
from phireside.models.engine.sequences import Sequence, SequencePool, common_prefix
from phireside.models.engine.text import TextStream
from phireside.models.engine.vocabulary import Vocabulary


class Writing(Run):
    """A `Request` that has a sequence.

    Args:
        job, sequence, cached, restored, context, pool: see `Run`.
        vocabulary: turns tokens into text.
        draft_tokens: most tokens guessed in one step.
    """

    def __init__(
        self,
        job: Job,
        sequence: Sequence,
        cached: int,
        restored: int,
        context: Context,
        pool: SequencePool,
        vocabulary: Vocabulary,
        draft_tokens: int,
    ) -> None:
        super().__init__(job, sequence, cached, restored, context, pool)
        request, self._vocabulary = cast(Request, job.request), vocabulary
        self._matcher, self._forced = job.matcher, 0
        self._opening = self._force()  # what a grammar forces at once is read together with the prompt
        self._pending = [*request.tokens[cached:], *self._opening]
        self._certain = len(self._pending)  # of the pending ones: those that are no guess
        self._sampler = Sampler(vocabulary.size, request.sampling, [*request.tokens, *self._opening])
        self._lookup = Lookup(request.tokens, draft_tokens)
        self._text = TextStream(request.stop)
        self._generated: list[int] = []
        self._drafted = self._accepted = 0
        self._first = self._last = 0.0

    @property
    def pending(self) -> list[int]:
        """See `Run`."""
        return self._pending

    def items(self, count: int) -> list[BatchItem]:
        """The next `count` pending tokens; logits are wanted from the last certain one on."""
        start, sequence = len(self.sequence.tokens), self.sequence.id
        return [
            BatchItem(token, start + i, sequence, i >= self._certain - 1)
            for i, token in enumerate(self._pending[:count])
        ]

    def advance(self, count: int, first: int) -> bool:
        """`count` pending tokens were evaluated as the batch's items from `first` on; True if the answer ended."""
        certain, guesses = self._pending[: min(count, self._certain)], self._pending[self._certain : count]
        self.sequence.extend(certain)
        if count < self._certain:
            del self._pending[:count]
            self._certain -= count
            return False
        self._pending, self._certain = [], 0
        ended = self._open() or self._write_on(guesses, first + len(certain) - 1)
        if guesses:  # those that were wrong are in the cache still
            self._pool.rewind(self.sequence)
        return ended

    def recover(self) -> None:
        """A batch was broken off: what it had evaluated of this sequence is forgotten, and is evaluated again."""
        if lost := self._pool.rewind(self.sequence):
            self._pending[:0] = lost
            self._certain += len(lost)
            self.reading, self._cached, self._restored = True, 0, 0

    def end(self, reason: FinishReason) -> bool:
        """See `Run`."""
        return self._end(reason, "")

    def _end(self, reason: FinishReason, text: str) -> bool:
        """Send the last text and the figures, one right behind the other, so that they are read at once; True."""
        stopped = self._text.stopped
        text += self._text.finish()
        if reason == "stop" and self._matcher and self._matcher.hurried and not stopped:
            reason = "length"  # the text is whole, but there was no room for what the model wanted to write
        elif reason == "length" and self._text.stopped and not stopped:
            reason = "stop"  # its last characters were a stop string
        prompt, now = len(self.job.request.tokens), time.monotonic()
        unread = 0 if self._first else max(0, len(self._pending) - len(self._opening))
        usage = Usage(
            finish_reason=reason,
            prompt_tokens=prompt,
            cached_tokens=self._cached,
            restored_tokens=self._restored,
            evaluated_tokens=prompt - self._cached - unread,
            generated_tokens=len(self._generated),
            forced_tokens=self._forced,
            drafted_tokens=self._drafted,
            accepted_tokens=self._accepted,
            queue_s=self._started - self.job.asked,
            prefill_s=(self._first or now) - self._started,
            time_to_first_token_s=(self._first or now) - self.job.asked,
            decode_s=self._last - self._first,
        )
        ended = Ended(usage, tuple(self._generated), self._text.exact)
        if text:
            self.job.send(Text(text))
        self.job.send(ended)
        return True

    def close(self) -> None:
        """Free the sampler."""
        self._sampler.close()

    def _open(self) -> bool:
        """The prompt is read: write what the grammar forced before anything was chosen. True if that is all."""
        self.reading = False
        opening, self._opening = self._opening, []
        return bool(opening) and self._write(opening)

    def _write_on(self, guesses: list[int], index: int) -> bool:
        """Choose tokens from the logits at `index` and, as long as the guesses are right, from those that follow.

        Guesses that were right are removed from the list. True if the answer ended.
        """
        while True:
            token = self._context.sample(self._sampler, index, self._matcher)
            if self._vocabulary.is_end(token):
                return self.end("stop")
            if self._matcher:
                self._matcher.consume([token])
            chosen = [token, *self._force()]
            self._sampler.accept(chosen[1:])
            if self._write(chosen):
                return True
            right = common_prefix(chosen, guesses)
            self.sequence.extend(chosen[:right])
            self._accepted += right
            del guesses[:right]
            index += right
            if right < len(chosen):
                self._go_on_with(chosen[right:])
                return False

    def _force(self) -> list[int]:
        """Take the tokens that the grammar leaves no choice about."""
        forced = self._matcher.forced() if self._matcher else []
        if self._matcher and forced:
            self._matcher.consume(forced)
            self._forced += len(forced)
        return forced

    def _write(self, chosen: list[int]) -> bool:
        """Send tokens as text; True if the answer ended with them."""
        self._last = time.monotonic()
        self._first = self._first or self._last
        self._generated += chosen
        self._lookup.add(chosen)
        text = ""
        for token in chosen:
            text += self._text.push(self._vocabulary.piece(token))
            if self._text.stopped:
                break
        if self._text.stopped or (self._matcher and self._matcher.finished):
            return self._end("stop", text)
        if len(self._generated) >= self.job.limit:
            return self._end("length", text)
        if text:
            self.job.send(Text(text))
        return False

    def _go_on_with(self, certain: list[int]) -> None:
        """These are to be evaluated next, and guesses after them."""
        guesses = self._lookup.guess(self.job.limit - len(self._generated) - 1)
        self._pending, self._certain = certain + guesses, len(certain)
        self._drafted += len(guesses)
