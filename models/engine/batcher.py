"""A loaded model at work: gives requests a sequence, evaluates batches, hands each its results.

Used by the engine's thread only. Which tokens go into a batch is the scheduler's rule (`scheduler.py`), where a prompt
starts is the pool's (`sequences.py`), what becomes of the results is the request's (`writing.py`, `scoring.py`).
Knows nothing of queues, of loading, or of other threads.
"""

import logging
import time
from contextlib import suppress
from pathlib import Path

from phireside.errors import EngineError, PhiresideError
from phireside.models.engine.context import NO_SLOT, Context, Weights
from phireside.models.engine.disk import StateFiles
from phireside.models.engine.job import Job
from phireside.models.engine.request import Priority, Request, ScoreRequest
from phireside.models.engine.run import Run
from phireside.models.engine.scheduler import plan_step
from phireside.models.engine.scoring import Scoring, plan_waves
from phireside.models.engine.sequences import Sequence, SequencePool, common_prefix
from phireside.models.engine.vocabulary import Vocabulary
from phireside.models.engine.writing import Writing
from phireside.settings import EngineSettings

log = logging.getLogger(__name__)

_BRANCHES, _RECURRENT_BRANCHES = 64, 8  # sequences for scoring; a recurrent state has a fixed size, however short
_WORTH_READING = 64  # tokens that a file on disk must save
_WORTH_WAITING = 16  # tokens that another request must be about to read, for one with the same beginning to wait


class Batcher:
    """Weights and cache in memory, and the requests that run in them.

    Args:
        path: a GGUF file.
        vocabulary: its tokenizer.
        settings: how to load it.
        n_ctx: tokens that one request may need.
        threads: (for generating, for reading prompts).
        files: where KV state is kept on disk, if it is.

    Raises:
        ModelLoadError: llama.cpp refuses the file, or memory does not suffice.
    """

    def __init__(
        self,
        path: Path,
        vocabulary: Vocabulary,
        settings: EngineSettings,
        n_ctx: int,
        threads: tuple[int, int],
        files: StateFiles | None = None,
    ) -> None:
        sequences = min(settings.n_sequences, settings.n_batch)
        self._vocabulary, self._n_batch, self._files = vocabulary, settings.n_batch, files
        self._weights = Weights(path, settings)
        recurrent = self._weights.recurrent
        self._draft_tokens = 0 if recurrent else settings.draft_tokens
        self._branches = range(sequences, sequences + (_RECURRENT_BRANCHES if recurrent else _BRANCHES))
        try:
            self.cells = settings.cells(n_ctx, self._weights.kv_bytes_per_token(settings))
            self._context = Context(self._weights, settings, self.cells, self._branches.stop, threads)
        except Exception:
            self._weights.close()
            raise
        self._read_speed = 0.0
        self.pool = SequencePool(self._context, sequences, self.cells, self._save, rewindable=not recurrent)
        self.running: list[Run] = []

    def interrupt(self) -> None:
        """Break off the batch that is being evaluated, because a request was cancelled. From any thread."""
        self._context.abort()

    def end_cancelled(self) -> None:
        """End the running requests that were cancelled."""
        self._context.clear_abort()
        for run in [run for run in self.running if run.job.cancelled]:
            run.end("cancelled")
            self._retire(run)

    def must_wait(self, job: Job) -> bool:
        """Whether a request had better wait, because one that runs is reading the same beginning right now.

        So eight samples of one prompt, or eight questions behind one long instruction, read it once. And the branches
        for scoring are lent to one request at a time.
        """
        if isinstance(job.request, ScoreRequest) and any(isinstance(run, Scoring) for run in self.running):
            return True
        if not self.pool.rewindable:  # nothing of what the other reads could be taken over
            return False
        prompt = list(job.request.tokens)
        ready = self.pool.longest(prompt)[1]
        readers = (run for run in self.running if run.reading and run.priority <= job.request.priority)
        return any(
            min(common_prefix(prompt, list(run.job.request.tokens)), len(prompt) - 1) >= ready + _WORTH_WAITING
            for run in readers
        )

    def admit(self, job: Job) -> bool:
        """Let a request run; False while there is no room for it."""
        request = job.request
        if isinstance(request, ScoreRequest):
            room = min(self._n_batch, self.cells - len(request.tokens))
            waves, more = plan_waves(request.continuations, len(self._branches), room)
        else:
            more = job.limit
        if request.priority > Priority.PERSON and 1 < len(self.pool.all) <= len(self.running) + 1:
            return False  # one sequence stays free for a person
        prompt = list(request.tokens)
        placed = self.pool.place(prompt, len(prompt) + more, job.keep)
        if placed is None:
            return False
        sequence, cached = placed
        begun = (job, sequence, *self._restore(sequence, cached, prompt), self._context, self.pool)
        self.running.append(
            Writing(*begun, self._vocabulary, self._draft_tokens)
            if isinstance(request, Request)
            else Scoring(*begun, waves, self._branches)
        )
        job.running = True
        return True

    def step(self) -> None:
        """Evaluate one batch, and let each request take its results."""
        plan = plan_step(self.running, self._n_batch, self._read_speed)
        items = [run.items(count) for run, count in plan]
        batch = [item for each in items for item in each]
        begun = time.monotonic()
        try:
            status = self._context.decode(batch)
        except EngineError as error:
            self.fail_all(error)
            return
        if status:
            self._recover([run for run, _ in plan], status)
            return
        if len(batch) >= 8 and len(batch) > 2 * len(plan):  # a batch that mostly read
            speed = len(batch) / (time.monotonic() - begun)
            self._read_speed = 0.5 * (self._read_speed or speed) + 0.5 * speed
        first = 0
        for (run, count), own in zip(plan, items, strict=True):
            try:
                ended = run.advance(count, first)
            except PhiresideError as error:  # its own fault: the others go on
                run.job.fail(error)
                run.recover()
                ended = True
            if ended:
                self._retire(run)
            first += len(own)

    def fail_running(self, error: PhiresideError) -> None:
        """End every running request with an error."""
        for run in list(self.running):
            run.job.fail(error)
            self._retire(run)

    def fail_all(self, error: PhiresideError) -> None:
        """End every running request with an error, and empty the cache, because its state is not known any more."""
        self.fail_running(error)
        for sequence in self.pool.all:
            self.pool.drop(sequence)

    def save(self) -> None:
        """Write the state of parked sequences that are to be kept, as far as it is not on disk yet."""
        for sequence in self.pool.parked:
            self._save(sequence)

    def forget(self, keep: str) -> None:
        """Drop what is parked under a name, and keep nothing of what runs under it."""
        for run in self.running:
            run.job.forget(keep)
        for sequence in self.pool.all:
            if sequence.keep == keep:
                sequence.keep = ""
                if not sequence.reserved:
                    self.pool.drop(sequence)

    def close(self) -> None:
        """Save what is to be kept; free cache and weights."""
        try:
            self.save()
        finally:
            self._context.close()
            self._weights.close()

    def _save(self, sequence: Sequence) -> None:
        if not self._files or not sequence.keep or sequence.kept < sequence.saved + _WORTH_READING:
            return
        if sequence.kept < len(sequence.tokens) and not self.pool.trim(sequence, sequence.kept):
            return
        self._files.write(sequence.keep, sequence.tokens, self._context.save_state(sequence.id))
        sequence.saved = len(sequence.tokens)

    def _restore(self, sequence: Sequence, cached: int, prompt: list[int]) -> tuple[int, int]:
        """Fill a sequence from disk where that saves evaluating.

        Returns:
            (tokens of the prompt that it then holds, how many of them came from disk)
        """
        if not self._files:
            return cached, 0
        # One token less than the prompt: the last one's logits are needed, so it is evaluated in any case.
        path, length = self._files.longest(prompt[:-1], whole=not self.pool.rewindable)
        if path is None or length < cached + _WORTH_READING:
            return cached, 0
        found = self._files.read(path)
        if not found or not self.pool.clear(sequence, len(found[0])):
            return cached, 0
        tokens, state = found
        if not self._context.load_state(sequence.id, state):
            log.warning("KV file %s does not fit the model: it is removed, and the prompt evaluated", path)
            with suppress(OSError):
                path.unlink()
            return 0, 0
        sequence.extend(tokens)
        sequence.saved = len(tokens)
        return (length, length) if self.pool.trim(sequence, length) else (0, 0)

    def _retire(self, run: Run) -> None:
        """A request is over: its tokens stay in the cache for later ones."""
        self.running.remove(run)
        run.close()
        if run.job.keep:
            run.sequence.keep, run.sequence.kept = run.job.keep, len(run.sequence.tokens)
        self.pool.park(run.sequence)

    def _recover(self, runs: list[Run], status: int) -> None:
        """A batch was broken off, by a cancel or for want of cells: make the cache agree with our lists again."""
        if not self.pool.rewindable:  # the states of others may be touched too (see `rewind`)
            runs = self.running
            for sequence in self.pool.parked:
                self.pool.drop(sequence)
        for run in runs:
            run.recover()
        if status == NO_SLOT and not self.pool.evict():
            run = self.running[-1]
            run.job.fail(
                EngineError(
                    f"The KV cache of {self.cells} tokens is full with {len(self.running)} requests running.",
                    hint="Raise engine.cache_tokens, or run fewer chats at once.",
                )
            )
            self._retire(run)
