"""The engine: requests go in from any thread, one thread owns llama.cpp, streams of text come out.

The thread's loop: take arrivals, end what was cancelled, let waiting requests run, evaluate one batch (`batcher.py`).
Here are the queue, loading and unloading. Knows nothing of messages, templates or LangChain.
"""

import atexit
import logging
import os
import queue
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import psutil

from phireside.errors import (
    ContextOverflowError,
    EngineBusyError,
    EngineClosedError,
    EngineError,
    ModelDamagedError,
    ModelNotFoundError,
    PhiresideError,
    RequestError,
)
from phireside.models.engine.batcher import Batcher
from phireside.models.engine.job import Job
from phireside.models.engine.native import Vocabulary
from phireside.models.engine.request import Ended, Event, Failed, Request, Sink, Text, Usage
from phireside.settings import EngineSettings

log = logging.getLogger(__name__)

State = Literal["unloaded", "loading", "ready", "closed"]


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


class Engine:
    """A model file, served. Loads at the first request, or by `load()`.

    Args:
        path: a GGUF file.
        settings: how to load it.

    Raises:
        ModelNotFoundError: there is no such file.
        ModelLoadError: llama.cpp refuses the file.
    """

    def __init__(self, path: Path, settings: EngineSettings | None = None) -> None:
        self.path, self.settings = path, settings or EngineSettings()
        self._signature = file_signature(path)
        self.vocabulary = Vocabulary(path)
        self.n_ctx = self.settings.context(self._trained_context())
        self.threads = choose_threads(self.settings)
        self._state: State = "unloaded"
        self._lock = threading.Lock()  # guards _thread, _queued and the change of _state to "closed"
        self._thread: threading.Thread | None = None
        self._queued = 0  # jobs in _inbox and _waiting
        self._inbox: queue.SimpleQueue[Job | _LoadCall | None] = queue.SimpleQueue()
        # The engine thread's own:
        self._waiting: list[Job] = []
        self._load_calls: list[_LoadCall] = []
        self._batcher: Batcher | None = None

    def submit(self, request: Request, sink: Sink) -> Job:
        """Queue a request; its events go to `sink`, in the engine's thread: any number of Text, then Ended or Failed.

        Raises:
            ContextOverflowError: prompt and answer cannot fit into the context; nothing was evaluated.
            RequestError: the prompt holds a token that the vocabulary does not have.
            EngineBusyError: too many requests wait.
            EngineClosedError: the engine was closed.
        """
        job = Job(request, self._limit(request), sink, self._interrupt)
        self._put(job)
        return job

    def complete(self, request: Request) -> "Completion":
        """Continue a prompt: iterate over the result for the text. Dropping it cancels. Errors are as for `submit`."""
        return Completion(self, request)

    def load(self, timeout: float | None = None) -> bool:
        """Load the model now and wait for it; False if it is not ready after `timeout` seconds.

        Raises:
            ModelLoadError: it cannot be loaded.
            EngineClosedError: the engine was closed.
        """
        call = _LoadCall()
        self._put(call)
        done = call.done.wait(timeout)
        if call.error:
            raise call.error
        return done

    def stats(self) -> Stats:
        """A snapshot for the UI and for tests."""
        batcher = self._batcher
        return Stats(
            state=self._state,
            running=len(batcher.running) if batcher else 0,
            waiting=self._queued,
            parked=len(batcher.pool.parked) if batcher else 0,
            cells=batcher.cells if batcher else 0,
            cells_used=sum(len(s.tokens) for s in batcher.pool.all) if batcher else 0,
            n_ctx=self.n_ctx,
            n_threads=self.threads[0],
            n_threads_batch=self.threads[1],
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

    def _put(self, item: "Job | _LoadCall") -> None:
        with self._lock:
            if self._state == "closed":
                raise EngineClosedError("The model was closed.", hint="Make a new engine to use it again.")
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=f"engine-{self.path.stem}", daemon=True)
                thread.start()
                self._thread = thread
                atexit.register(self.close)  # llama.cpp must not be in the middle of a batch when the interpreter goes
            if isinstance(item, Job):
                self._refuse_if_busy()
                self._queued += 1
            self._inbox.put(item)

    def _refuse_if_busy(self) -> None:
        if self._queued >= self.settings.max_waiting:
            raise EngineBusyError(
                f"{self._queued} requests are waiting for {self.path.name} already.",
                hint="Try again in a moment; engine.max_waiting sets the limit.",
            )

    def _interrupt(self) -> None:
        if batcher := self._batcher:
            batcher.interrupt()

    def _limit(self, request: Request) -> int:
        """Tokens the answer may have."""
        if (largest := max(request.tokens)) >= self.vocabulary.size:
            raise RequestError(f"The prompt holds token {largest}, but the model has {self.vocabulary.size} tokens.")
        prompt, wanted = len(request.tokens), request.max_tokens or 1
        if prompt + wanted > self.n_ctx:
            raise ContextOverflowError(
                f"The prompt has {prompt} tokens; with {wanted} for the answer that is {prompt + wanted}, but the "
                f"context holds {self.n_ctx}.",
                hint="Shorten the conversation or the document, ask for fewer tokens, or load the model with a larger "
                "n_ctx.",
            )
        return request.max_tokens or self.n_ctx - prompt

    def _trained_context(self) -> int | None:
        architecture = self.vocabulary.metadata.get("general.architecture", "")
        trained = self.vocabulary.metadata.get(f"{architecture}.context_length")
        return int(trained) if trained else None

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
        self._fail_all(EngineClosedError("The model was closed while it was answering.", hint="Ask again."))
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
            while self._waiting and batcher.admit(self._waiting[0]):
                self._leave_queue(self._waiting[0])
            if batcher.running:
                batcher.step()

    def _take_arrivals(self, *, wait: bool) -> None:
        """Sort in what has arrived. With `wait`, sleep until something does, or unload after a long sleep."""
        patience = self.settings.idle_unload_s if self._batcher and self.settings.idle_unload_s else None
        try:
            arrival = self._inbox.get(block=wait, timeout=patience)
            while True:
                if isinstance(arrival, Job):
                    self._waiting.append(arrival)
                elif arrival:
                    self._load_calls.append(arrival)
                arrival = self._inbox.get_nowait()
        except queue.Empty:
            self._waiting.sort(
                key=lambda job: job.request.priority
            )  # stable: within a priority, first come first served
        if wait and patience and not (self._waiting or self._load_calls):
            self._unload()

    def _leave_queue(self, job: Job) -> None:
        self._waiting.remove(job)
        with self._lock:
            self._queued -= 1

    def _fail_all(self, error: PhiresideError) -> None:
        """End every request and every wait for loading with an error."""
        for call in self._load_calls:
            call.error = error
            call.done.set()
        self._load_calls.clear()
        for job in list(self._waiting):
            self._leave_queue(job)
            job.fail(error)
        if self._batcher:
            self._batcher.fail_all(error)

    def _load(self) -> Batcher:
        if file_signature(self.path) != self._signature:
            raise ModelDamagedError(
                f"{self.path} changed on disk since it was checked.", hint="Ask again: the new file is checked first."
            )
        self._set_state("loading")
        try:
            batcher = Batcher(self.path, self.vocabulary, self.settings, self.n_ctx, self.threads)
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


class _LoadCall:
    """Somebody waits in `Engine.load`."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.error: PhiresideError | None = None


class Completion:
    """The answer to one request, as an iterator over pieces of text. Dropping it cancels the request."""

    def __init__(self, engine: Engine, request: Request) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._job = engine.submit(request, self._events.put)
        weakref.finalize(self, self._job.cancel)
        self.ended: Ended | None = None

    @property
    def usage(self) -> Usage | None:
        """The figures, once the answer has ended."""
        return self.ended.usage if self.ended else None

    def __iter__(self) -> Iterator[str]:
        while self.ended is None:
            event = self._events.get()
            if isinstance(event, Text):
                yield event.text
                continue
            self._events.put(event)  # for whoever asks again
            if isinstance(event, Failed):
                raise event.error
            self.ended = event

    def cancel(self) -> None:
        """End the answer within one step; the iterator then ends."""
        self._job.cancel()


def file_signature(path: Path) -> tuple[int, int, int]:
    """Inode, size and time of change of a file: what changes when it is replaced.

    Raises:
        ModelNotFoundError: there is no such file.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise ModelNotFoundError(
            f"There is no model file {path}: {error.strerror}.", hint="`phireside models list` shows what is there."
        ) from error
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def choose_threads(settings: EngineSettings) -> tuple[int, int]:
    """Threads for generating and for reading prompts, where the settings leave it open.

    Generating waits for memory and for its slowest thread: one core is left to the page and the rest of the machine
    (docs/performance.md, "Threads"). Reading prompts is bound by arithmetic and takes all cores.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(psutil.cpu_count(logical=False) or usable, usable)
    return settings.n_threads or max(1, cores - 1), settings.n_threads_batch or cores
