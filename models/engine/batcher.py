"""A loaded model at work: gives requests a sequence, evaluates batches, samples, streams.

Used by the engine's thread only. Which tokens go into a batch is the scheduler's rule (`scheduler.py`), where a prompt
starts is the pool's (`sequences.py`). Knows nothing of queues, of loading, or of other threads.
"""

import random
import time
from pathlib import Path

from phireside.errors import EngineError, PhiresideError
from phireside.models.engine.job import Job, Run
from phireside.models.engine.native import NO_SLOT, BatchItem, Context, Sampler, Vocabulary, Weights
from phireside.models.engine.scheduler import plan_step
from phireside.models.engine.sequences import SequencePool
from phireside.settings import EngineSettings


class Batcher:
    """Weights and cache in memory, and the requests that run in them.

    Args:
        path: a GGUF file.
        vocabulary: its tokenizer.
        settings: how to load it.
        n_ctx: tokens that one request may need.
        threads: (for generating, for reading prompts).

    Raises:
        ModelLoadError: llama.cpp refuses the file, or memory does not suffice.
    """

    def __init__(
        self, path: Path, vocabulary: Vocabulary, settings: EngineSettings, n_ctx: int, threads: tuple[int, int]
    ) -> None:
        # Each running sequence may need its place in every batch; llama.cpp aborts the process where it has none.
        sequences = min(settings.n_sequences, settings.n_batch)
        settings = settings.model_copy(update={"n_sequences": sequences})
        self._vocabulary, self._n_batch = vocabulary, settings.n_batch
        self._weights = Weights(path, settings)
        try:
            self.cells = settings.cells(n_ctx, self._weights.kv_bytes_per_token(settings))
            self._context = Context(self._weights, settings, self.cells, threads)
        except Exception:
            self._weights.close()
            raise
        self._read_speed = 0.0
        self.pool = SequencePool(self._context, sequences, self.cells, rewindable=not self._weights.recurrent)
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

    def admit(self, job: Job) -> bool:
        """Let a request run; False while there is no room for it."""
        placed = self.pool.place(list(job.request.tokens), job.need)
        if placed is None:
            return False
        chosen = job.request.sampling
        sampler = Sampler(
            self._vocabulary.size,
            temperature=chosen.temperature,
            top_k=chosen.top_k,
            top_p=chosen.top_p,
            min_p=chosen.min_p,
            repeat_penalty=chosen.repeat_penalty,
            seed=random.getrandbits(32) if chosen.seed is None else chosen.seed,
        )
        sampler.accept(job.request.tokens[-Sampler.LOOK_BACK :])
        self.running.append(Run(job, *placed, sampler, self._vocabulary))
        job.running = True
        return True

    def step(self) -> None:
        """Evaluate one batch and take one token from every answer that can go on."""
        plan = plan_step(self.running, self._n_batch, self._read_speed)
        items, last = _batch(plan)
        begun = time.monotonic()
        try:
            status = self._context.decode(items)
        except EngineError as error:  # the cache's state is not known any more
            self.fail_all(error)
            return
        if status:
            self._recover(plan, status)
            return
        if len(items) >= 8 and len(items) > 2 * len(plan):  # a batch that mostly read
            speed = len(items) / (time.monotonic() - begun)
            self._read_speed = 0.5 * (self._read_speed or speed) + 0.5 * speed
        for (run, count), index in zip(plan, last, strict=True):
            if run.advance(count) and run.write(self._context.sample(run.sampler, index)):
                self._retire(run)

    def fail_all(self, error: PhiresideError) -> None:
        """End every running request with an error and empty the cache."""
        for run in list(self.running):
            run.job.fail(error)
            self._retire(run)
        for sequence in self.pool.all:
            self.pool.drop(sequence)

    def close(self) -> None:
        """Free cache and weights."""
        self._context.close()
        self._weights.close()

    def _retire(self, run: Run) -> None:
        """A request is over: its tokens stay in the cache for later ones."""
        self.running.remove(run)
        run.sampler.close()
        self.pool.park(run.sequence)

    def _recover(self, plan: list[tuple[Run, int]], status: int) -> None:
        """A batch was broken off, by a cancel or for want of cells: make the cache agree with our lists again."""
        for run, _ in plan:
            run.evaluate_again(self.pool.rewind(run.sequence))
        if status == NO_SLOT and not self.pool.evict():
            run = self.running[-1]
            run.job.fail(
                EngineError(
                    f"The KV cache of {self.cells} tokens is full with {len(self.running)} requests running.",
                    hint="Raise engine.cache_tokens, or run fewer chats at once.",
                )
            )
            self._retire(run)


def _batch(plan: list[tuple[Run, int]]) -> tuple[list[BatchItem], list[int]]:
    """The items of a batch, and for each run the index of its last item."""
    items: list[BatchItem] = []
    last = []
    for run, count in plan:
        start, whole = len(run.sequence.tokens), count == len(run.pending)
        for i, token in enumerate(run.pending[:count]):
            items.append(BatchItem(token, start + i, run.sequence.id, whole and i == count - 1))
        last.append(len(items) - 1)
    return items, last
