"""The engine: requests go in from any thread, one thread owns llama.cpp, streams of text come out.

The thread's loop: take arrivals, end what was cancelled, let waiting requests run, evaluate one batch (`batcher.py`).
Here are the queue, loading and unloading. Knows nothing of messages, templates or LangChain.
"""

import atexit
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from phireside.errors import (
    ContextOverflowError,
    EngineBusyError,
    EngineClosedError,
    EngineError,
    ModelDamagedError,
    PhiresideError,
    RequestError,
)
from phireside.models.engine.batcher import Batcher
from phireside.models.engine.completion import Completion
from phireside.models.engine.disk import StateFiles
from phireside.models.engine.job import Job
from phireside.models.engine.machine import choose_threads, file_signature
from phireside.models.engine.request import Event, Failed, Priority, Request, Score, Scored, ScoreRequest, Sink
from phireside.models.engine.tally import State, Stats, Tally
from phireside.models.engine.vocabulary import Vocabulary
from phireside.settings import EngineSettings

log = logging.getLogger(__name__)

GATHER_S = 0.005  # after silence: requests that come together are read in one batch, and not the first one alone;
# only if the last ones came together, too: else this is a person, who would wait for nobody
SAVE_AFTER_S = 60.0  # of silence: a state may have hundreds of megabytes, so it is not written after every answer

Watch = Callable[[Job], object] | None


class Engine:
    """A model file, served. Loads at the first request, or by `load()`. Close it: what is dropped stays in memory.

    Args:
        path: a GGUF file.
        settings: how to load it.
        kv_folder: where the KV state of requests with a `keep` is kept; one for each weights file and settings that
            change the state (`StateFiles.folder_for`). None = nothing is kept.

    Raises:
        ModelNotFoundError: there is no such file.
        ModelLoadError: llama.cpp refuses the file.
    """

    def __init__(self, path: Path, settings: EngineSettings | None = None, kv_folder: Path | None = None) -> None:
        self.path, self.settings = path, settings or EngineSettings()
        self._signature = file_signature(path)
        self.vocabulary = Vocabulary(path)
        self.n_ctx = self.settings.context(self._trained_context())
        self.threads = choose_threads(self.settings)
        self._files = StateFiles(kv_folder, self.settings.kv_disk_bytes) if kv_folder else None
        self._state: State = "unloaded"
        self._tally = Tally()
        self._lock = threading.Lock()  # guards _thread, _queued and the change of _state to "closed"
        self._thread: threading.Thread | None = None
        self._queued = 0  # jobs in _inbox and _waiting
        self._inbox: queue.SimpleQueue[Job | _LoadCall | _Forget | None] = queue.SimpleQueue()
        # The engine thread's own:
        self._waiting: list[Job] = []
        self._load_calls: list[_LoadCall] = []
        self._batcher: Batcher | None = None
        self._idle_since: float | None = None
        self._crowded = False  # whether more than one request was here at once since the last silence

    def submit(self, request: Request, sink: Sink) -> Job:
        """Queue a request; its events go to `sink`, in the engine's thread: any number of Text, then Ended or Failed.

        Raises:
            ContextOverflowError: prompt and answer cannot fit into the context; nothing was evaluated.
            RequestError: the prompt holds a token that the vocabulary does not have.
            GrammarError: the grammar does not compile, or cannot end within the tokens left.
            EngineBusyError: too many requests wait.
            EngineClosedError: the engine was closed.
        """
        job = self._job(request, sink)
        self._put(job)
        return job

    def complete(self, request: Request) -> Completion:
        """Continue a prompt: iterate over the result for the text. Dropping it cancels. Errors are as for `submit`."""
        return Completion(partial(self.submit, request))

    def fork(self, request: Request, branches: int | Sequence[Sequence[int]]) -> list[Completion]:
        """Several answers to one prompt, which is read once.

        Args:
            request: what they have in common.
            branches: how many samples, drawn with the request's seed, seed + 1, …; or for each branch the tokens that
                its answer begins with. A grammar has then seen these, and forks with its sequence.

        Raises:
            EngineBusyError: more branches than requests may wait; none of them was started.
            Others as for `submit`.
        """
        requests = request.samples(branches) if isinstance(branches, int) else request.branches(branches)
        jobs: list[Job] = []

        def enter(sink: Sink) -> Job:
            jobs.append(self._job(requests[len(jobs)], sink))
            return jobs[-1]

        completions = [Completion(enter) for _ in requests]
        self._put(*jobs)
        return completions

    def score(
        self,
        prefix: Sequence[int],
        continuations: Sequence[Sequence[int]],
        priority: Priority = Priority.PERSON,
        timeout: float | None = None,
        watch: Watch = None,
    ) -> list[Score]:
        """How probable each continuation of a prefix is: one prefill, then one batch for all of them.

        Args:
            prefix: at least one token.
            continuations: at least one token each; any number.
            priority: as for a `Request`.
            timeout: seconds it may take, waiting included.
            watch: is told the job, to cancel it.

        Raises:
            EngineError: it took longer, or was cancelled; others as for `submit`.
        """
        if not continuations:
            return []
        scored = self._scored(ScoreRequest(tuple(prefix), tuple(map(tuple, continuations)), priority), timeout, watch)
        return list(scored.scores)

    def next_tokens(
        self, tokens: Sequence[int], priority: Priority = Priority.PERSON, timeout: float | None = None
    ) -> Scored:
        """The logits of every token that may come next, and what they cost. Arguments and errors as for `score`."""
        return self._scored(ScoreRequest(tuple(tokens), (), priority), timeout)

    def _scored(self, request: ScoreRequest, timeout: float | None, watch: Watch = None) -> Scored:
        events = queue.SimpleQueue[Event]()
        job = self._job(request, events.put)
        self._put(job)
        if watch:
            watch(job)
        try:
            event = events.get(timeout=timeout)
        except queue.Empty:
            raise EngineError(
                f"Scoring {len(request.continuations)} continuations took longer than {timeout} s.",
                hint="Raise timeout, or score fewer at once.",
            ) from None
        finally:
            job.cancel()  # nothing, if it has ended; else nobody waits for it any more
        if isinstance(event, Failed):
            raise event.error
        if not isinstance(event, Scored) or event.usage.finish_reason != "stop":
            raise EngineError("The scoring was cancelled.")
        return event

    def forget(self, keep: str) -> None:
        """Drop the KV state that is kept under a name, in memory and on disk, and that of requests asked so far."""
        if self._files:
            self._files.forget(keep)
        with self._lock:
            if self._thread and self._state != "closed":
                self._inbox.put(_Forget(keep))

    def load(self, timeout: float | None = None) -> bool:
        """Load the model now and wait for it; False if it is not ready after `timeout` seconds.

        Raises:
            ModelLoadError: it cannot be loaded.
            EngineClosedError: the engine was closed.
        """
        call = _LoadCall()
        self._put(call)
        if call.done.wait(timeout) and call.error:
            raise call.error
        return call.done.is_set()

    def stats(self) -> Stats:
        """A snapshot for the UI and for tests."""
        batcher = self._batcher
        return Stats(
            state=self._state,
            running=len(batcher.running) if batcher else 0,
            waiting=self._queued,
            parked=len(batcher.pool.parked) if batcher else 0,
            cells=batcher.cells if batcher else 0,
            cells_used=batcher.pool.cells_used if batcher else 0,
            n_ctx=self.n_ctx,
            n_threads=self.threads[0],
            n_threads_batch=self.threads[1],
            served=self._tally.totals(),
        )

    def close(self) -> None:
        """End all requests and free the memory. May be called twice."""
        with self._lock:
            self._state, thread = "closed", self._thread
            self._inbox.put(None)
        atexit.unregister(self.close)
        self._interrupt()
        if thread and thread is not threading.current_thread():
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _job(self, request: Request | ScoreRequest, sink: Sink) -> Job:
        """A request that can be served, checked before any work."""
        limit, matcher = self._limit(request), None
        if isinstance(request, Request) and request.grammar:
            begun = request.tokens[len(request.tokens) - request.begun :]
            matcher = request.grammar.matcher(self.vocabulary.guide, limit + len(begun))
            matcher.consume(begun)
        return Job(request, limit, self._tally.of(sink), self._interrupt, matcher)

    def _put(self, *items: "Job | _LoadCall") -> None:
        """Hand items to the engine's thread, all of them or none."""
        with self._lock:
            if self._state == "closed":
                raise EngineClosedError("The model was closed.", hint="Make a new engine to use it again.")
            jobs = sum(isinstance(item, Job) for item in items)
            if jobs and self._queued + jobs > self.settings.max_waiting:
                raise EngineBusyError(
                    f"{self._queued} requests are waiting for {self.path.name} already, and {jobs} more would be too "
                    f"many: the limit is {self.settings.max_waiting}.",
                    hint=("Try again in a moment; " if self._queued else "Ask for fewer at once; ")
                    + "engine.max_waiting sets the limit.",
                )
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=f"engine-{self.path.stem}", daemon=True)
                thread.start()
                self._thread = thread
                atexit.register(self.close)  # llama.cpp must not be in the middle of a batch when the interpreter goes
            for item in items:
                if isinstance(item, Job):
                    item.ahead = self._queued + bool(self._batcher and self._batcher.running)  # nobody: it is next
                    self._queued += 1
                self._inbox.put(item)

    def _interrupt(self) -> None:
        if batcher := self._batcher:
            batcher.interrupt()

    def _limit(self, request: Request | ScoreRequest) -> int:
        """Tokens the answer may have."""
        if request.largest_token >= self.vocabulary.size:
            raise RequestError(
                f"The prompt holds token {request.largest_token}, but the model has {self.vocabulary.size} tokens."
            )
        prompt, wanted = len(request.tokens), request.need
        if prompt + wanted > self.n_ctx:
            raise ContextOverflowError(
                f"The prompt has {prompt} tokens; with {wanted} for the answer that is {prompt + wanted}, but the "
                f"context holds {self.n_ctx}.",
                hint="Shorten the conversation or the document, ask for fewer tokens, or load the model with a larger "
                "n_ctx.",
            )
        return getattr(request, "max_tokens", wanted) or self.n_ctx - prompt

    def _trained_context(self) -> int | None:
        architecture = self.vocabulary.metadata.get("general.architecture", "")
        trained = self.vocabulary.metadata.get(f"{architecture}.context_length", "")
        return int(trained) if trained.isdecimal() else None  # llama.cpp itself refuses what is none

    # ---- the engine's own thread ----

    def _run(self) -> None:
        while self._state != "closed":
            try:
                self._turn()
            except PhiresideError as error:
                self._fail_all(error)
            except Exception as error:  # the thread must live on: a failed request is not a failed engine
                log.exception("The engine failed")
                self._fail_all(EngineError(f"The engine failed: {error!r}.", hint="Please report this."))
        self._take_arrivals(wait=False)
        closed = EngineClosedError("The model was closed while it was answering.", hint="Ask again.")
        self._fail_waiting(closed)
        if self._batcher:
            self._batcher.fail_running(closed)
        self._unload()

    def _turn(self) -> None:
        """Once around the loop."""
        self._take_arrivals(wait=not (self._waiting or (self._batcher and self._batcher.running)))
        for job in [job for job in self._waiting if job.cancelled]:
            self._leave_queue(job)
            job.end_unstarted()
        if self._waiting or self._load_calls:
            self._batcher = self._batcher or self._load()
        for call in self._load_calls:
            call.done.set()
        self._load_calls.clear()
        if batcher := self._batcher:
            batcher.end_cancelled()
            self._admit(batcher)
            self._crowded = self._crowded or len(batcher.running) + len(self._waiting) > 1
            if batcher.running:
                batcher.step()

    def _admit(self, batcher: Batcher) -> None:
        """Let those run for whom there is room, in their order; some had better wait, and are overtaken."""
        for job in list(self._waiting):
            if not batcher.must_wait(job):
                if not batcher.admit(job):
                    break
                self._leave_queue(job)
        for place, job in enumerate(self._waiting, 1):
            job.ahead = place

    def _take_arrivals(self, *, wait: bool) -> None:
        """Sort in what has arrived. With `wait`, sleep until something does; a long sleep saves, and then unloads."""
        if wait:
            self._idle_since = self._idle_since or time.monotonic()
        try:
            arrival = self._inbox.get(block=wait, timeout=self._patience())
            gathering, self._crowded = wait and self._crowded, self._crowded and not wait
            while True:
                self._sort_in(arrival)
                gathering = gathering and len(self._waiting) < self.settings.n_sequences
                arrival = self._inbox.get(block=gathering, timeout=GATHER_S)
        except queue.Empty:
            self._waiting.sort(key=lambda job: job.request.priority)  # stable: within one, first come first served
        if wait and not (self._waiting or self._load_calls):
            self._rest()

    def _sort_in(self, arrival: "Job | _LoadCall | _Forget | None") -> None:
        self._idle_since = None
        if isinstance(arrival, Job):
            self._waiting.append(arrival)
        elif isinstance(arrival, _LoadCall):
            self._load_calls.append(arrival)
        elif arrival:
            for job in self._waiting:
                job.forget(arrival.keep)
            if self._batcher:
                self._batcher.forget(arrival.keep)
            if self._files:  # it may have been saved after the caller's look
                self._files.forget(arrival.keep)

    def _patience(self) -> float | None:
        """Seconds to wait for a request before something is to be done meanwhile; None = for ever."""
        unload, since = self.settings.idle_unload_s, self._idle_since
        if not self._batcher or since is None:
            return None
        idle = time.monotonic() - since
        due = [max(0.0, unload - idle)] if unload else []
        if self._files and idle < SAVE_AFTER_S:
            due.append(SAVE_AFTER_S - idle)
        return min(due, default=None)

    def _rest(self) -> None:
        """Nothing to do: save what is to be kept after a while, and free the memory after a long one."""
        if not self._batcher or self._idle_since is None:
            return
        idle = time.monotonic() - self._idle_since
        if self.settings.idle_unload_s and idle >= self.settings.idle_unload_s:
            self._unload()
        elif idle >= SAVE_AFTER_S:
            self._batcher.save()

    def _leave_queue(self, job: Job) -> None:
        self._waiting.remove(job)
        job.ahead = 0
        with self._lock:
            self._queued -= 1

    def _fail_all(self, error: PhiresideError) -> None:
        """End every request and every wait for loading with an error, and trust the cache no more."""
        self._fail_waiting(error)
        if self._batcher:
            self._batcher.fail_all(error)

    def _fail_waiting(self, error: PhiresideError) -> None:
        for call in self._load_calls:
            call.error = error
            call.done.set()
        self._load_calls.clear()
        for job in list(self._waiting):
            self._leave_queue(job)
            job.fail(error)

    def _load(self) -> Batcher:
        if file_signature(self.path) != self._signature:
            raise ModelDamagedError(
                f"{self.path} changed on disk since it was checked.", hint="Ask again: the new file is checked first."
            )
        self._set_state("loading")
        try:
            batcher = Batcher(self.path, self.vocabulary, self.settings, self.n_ctx, self.threads, self._files)
        except Exception:
            self._set_state("unloaded")
            raise
        self._set_state("ready")
        return batcher

    def _unload(self) -> None:
        if batcher := self._batcher:
            self._batcher = None
            batcher.close()
        self._set_state("unloaded")

    def _set_state(self, state: State) -> None:
        with self._lock:
            if self._state != "closed":
                self._state = state


@dataclass(frozen=True, slots=True)
class _Forget:
    """Parked state of that name is to go."""

    keep: str


class _LoadCall:
    """Somebody waits in `Engine.load`."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.error: PhiresideError | None = None
