"""The engine's rules without llama.cpp: who waits, who is refused, what a fault does to the others.

A batcher made of paper takes llama.cpp's place. It answers each admitted request with one word per step, when told to.
"""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_tools import is_idle, wait_until

from phireside.errors import (
    EngineBusyError,
    EngineClosedError,
    EngineError,
    ModelDamagedError,
    ModelLoadError,
    ModelNotFoundError,
    RequestError,
)
from phireside.models.engine import Ended, Engine, Event, Failed, Priority, Request, Text, Usage
from phireside.models.engine import engine as module
from phireside.models.engine.sequences import SequencePool
from phireside.settings import EngineSettings


class PaperVocabulary:
    size = 1000

    def __init__(self, path: Path) -> None:
        self.metadata: dict[str, str] = {}


class PaperRun:
    def __init__(self, job: Any) -> None:
        self.job = job


class PaperBatcher:
    """Admits `room` requests at once and ends each at its first step, unless `fault` says what happens instead."""

    room = 1
    fault: Callable[[], None] | None = None
    load_fault: Exception | None = None
    made: "list[PaperBatcher]"

    def __init__(self, *_: object) -> None:
        if type(self).load_fault:
            raise type(self).load_fault
        self.running: list[PaperRun] = []
        self.admitted: list[int] = []
        self.go = threading.Event()
        self.interrupts = 0
        self.closed = False
        self.cells = 0
        self.pool = SequencePool(None, 1, 1)  # type: ignore[arg-type]
        type(self).made.append(self)

    def interrupt(self) -> None:
        self.interrupts += 1

    def end_cancelled(self) -> None:
        for run in [run for run in self.running if run.job.cancelled]:
            self._end(run, "cancelled")

    def must_wait(self, _job: Any) -> bool:
        return False

    def admit(self, job: Any) -> bool:
        if len(self.running) >= self.room:
            return False
        self.admitted.append(job.request.tokens[0])
        self.running.append(PaperRun(job))
        job.running = True
        return True

    def step(self) -> None:
        self.go.wait(60)
        if fault := type(self).fault:
            type(self).fault = None
            fault()
        for run in list(self.running):
            run.job.send(Text("word"))
            self._end(run, "stop")

    def fail_running(self, error: Any) -> None:
        self.fail_all(error)

    def fail_all(self, error: Any) -> None:
        for run in self.running:
            run.job.fail(error)
        self.running.clear()

    def close(self) -> None:
        self.closed = True

    def _end(self, run: PaperRun, reason: Any) -> None:
        self.running.remove(run)
        run.job.send(Ended(Usage(reason, 1, evaluated_tokens=1, generated_tokens=1), (1,), exact=True))


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> type[PaperBatcher]:
    class Batcher(PaperBatcher):
        made: list[PaperBatcher] = []  # noqa: RUF012 (one list per test)

    monkeypatch.setattr(module, "Batcher", Batcher)
    monkeypatch.setattr(module, "Vocabulary", PaperVocabulary)
    return Batcher


@pytest.fixture
def engine(paper: type[PaperBatcher], tmp_path: Path) -> Iterator[Engine]:
    path = tmp_path / "paper.gguf"
    path.write_bytes(b"GGUF")
    engine = Engine(path, EngineSettings(max_waiting=3))
    yield engine
    for batcher in paper.made:
        batcher.go.set()
    engine.close()


class Listener:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ended = threading.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if not isinstance(event, Text):
            self.ended.set()

    @property
    def last(self) -> Event:
        assert self.ended.wait(60)
        return self.events[-1]


def submit(engine: Engine, token: int, priority: Priority = Priority.PERSON) -> tuple[Any, Listener]:
    listener = Listener()
    return engine.submit(Request((token,), priority=priority), listener), listener


def occupied(engine: Engine, paper: type[PaperBatcher]) -> PaperBatcher:
    """Let one request run and stay there."""
    submit(engine, 0)
    wait_until(lambda: engine.stats().running == 1)
    return paper.made[-1]


def test_requests_beyond_the_limit_are_refused_with_the_numbers(engine: Engine, paper: type[PaperBatcher]) -> None:
    batcher = occupied(engine, paper)
    waiting = [submit(engine, token)[1] for token in (1, 2, 3)]
    assert engine.stats().waiting == 3
    with pytest.raises(EngineBusyError, match=r"3 requests are waiting for paper\.gguf") as caught:
        submit(engine, 4)
    assert "max_waiting" in caught.value.hint
    batcher.go.set()
    assert all(isinstance(listener.last, Ended) for listener in waiting)
    wait_until(lambda: is_idle(engine))
    assert isinstance(submit(engine, 5)[1].last, Ended)  # there is room again


def test_a_person_goes_before_background_work_and_equals_in_their_order(
    engine: Engine, paper: type[PaperBatcher]
) -> None:
    batcher = occupied(engine, paper)
    work = [submit(engine, 1, Priority.BACKGROUND), submit(engine, 2, Priority.PERSON)]
    work.append(submit(engine, 3, Priority.PERSON))
    batcher.go.set()
    assert all(isinstance(listener.last, Ended) for _, listener in work)
    assert batcher.admitted == [0, 2, 3, 1]


def test_a_request_cancelled_in_the_queue_never_runs_and_interrupts_nobody(
    engine: Engine, paper: type[PaperBatcher]
) -> None:
    batcher = occupied(engine, paper)
    job, listener = submit(engine, 1)
    job.cancel()
    job.cancel()
    assert batcher.interrupts == 0
    batcher.go.set()
    assert isinstance(listener.last, Ended)
    assert listener.last.usage.finish_reason == "cancelled"
    assert batcher.admitted == [0]


def test_the_cancel_of_a_running_request_interrupts_the_batch(engine: Engine, paper: type[PaperBatcher]) -> None:
    listener = Listener()
    job = engine.submit(Request((1,)), listener)
    wait_until(lambda: engine.stats().running == 1)
    job.cancel()
    assert paper.made[-1].interrupts == 1
    paper.made[-1].go.set()
    assert isinstance(listener.last, Ended)
    interrupts = paper.made[-1].interrupts
    job.cancel()  # it has ended: nothing to interrupt
    assert paper.made[-1].interrupts == interrupts


def test_a_listener_that_raises_disturbs_nobody(engine: Engine, paper: type[PaperBatcher]) -> None:
    paper.room = 2

    def deaf(event: Event) -> None:
        raise RuntimeError(f"the event loop is closed: {event}")

    job = engine.submit(Request((1,)), deaf)
    wait_until(lambda: engine.stats().running == 1)
    paper.made[-1].go.set()
    wait_until(lambda: job.ended)
    assert isinstance(submit(engine, 2)[1].last, Ended)


@pytest.mark.parametrize("error", [EngineError("llama.cpp failed."), ZeroDivisionError("a bug of ours")])
def test_a_fault_fails_the_requests_and_not_the_engine(
    engine: Engine, paper: type[PaperBatcher], error: Exception
) -> None:
    def fault() -> None:
        raise error

    _, running = submit(engine, 1)
    wait_until(lambda: engine.stats().running == 1)
    paper.fault = staticmethod(fault)
    paper.made[-1].go.set()
    assert isinstance(running.last, Failed)
    assert str(error) in str(running.last.error)
    assert isinstance(running.last.error, EngineError)
    assert isinstance(submit(engine, 2)[1].last, Ended)


def test_a_model_that_cannot_be_loaded_fails_its_requests_and_is_tried_again(
    engine: Engine, paper: type[PaperBatcher]
) -> None:
    paper.load_fault = ModelLoadError("no memory")
    with pytest.raises(ModelLoadError, match="no memory"):
        engine.load()
    failed = submit(engine, 1)[1].last
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, ModelLoadError)
    paper.load_fault = OSError("an unknown trouble")
    failed = submit(engine, 1)[1].last
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, EngineError)
    assert engine.stats().state == "unloaded"
    paper.load_fault = None
    assert engine.load()
    paper.made[-1].go.set()
    assert isinstance(submit(engine, 1)[1].last, Ended)
    assert engine.stats().state == "ready"


def test_a_file_that_was_replaced_before_loading_is_refused(engine: Engine) -> None:
    engine.path.write_bytes(b"another")
    with pytest.raises(ModelDamagedError, match="changed on disk"):
        engine.load()
    engine.path.unlink()
    with pytest.raises(ModelNotFoundError):
        engine.load()


def test_closing_ends_whoever_runs_or_waits_and_refuses_whoever_comes(
    engine: Engine, paper: type[PaperBatcher]
) -> None:
    batcher = occupied(engine, paper)
    _, waiting = submit(engine, 1)
    batcher.go.set()
    paper.fault = staticmethod(lambda: wait_until(lambda: engine.stats().state == "closed"))
    engine.close()
    assert isinstance(waiting.last, Failed)
    assert isinstance(waiting.last.error, EngineClosedError)
    assert batcher.closed
    engine.close()
    for late in (lambda: submit(engine, 2), engine.load):
        with pytest.raises(EngineClosedError):
            late()


def test_a_listener_may_close_the_engine(engine: Engine, paper: type[PaperBatcher]) -> None:
    closed = threading.Event()

    def closer(event: Event) -> None:
        engine.close()
        closed.set()

    engine.submit(Request((1,)), closer)
    wait_until(lambda: paper.made)
    paper.made[-1].go.set()
    assert closed.wait(60)
    wait_until(lambda: paper.made[-1].closed)


def test_the_model_is_unloaded_when_nobody_asks_for_a_while_and_loaded_again_at_need(
    paper: type[PaperBatcher], tmp_path: Path
) -> None:
    path = tmp_path / "paper.gguf"
    path.write_bytes(b"GGUF")
    with Engine(path, EngineSettings(idle_unload_s=0.05)) as engine:
        for round_ in range(1, 4):
            engine.load()
            paper.made[-1].go.set()
            assert isinstance(submit(engine, 1)[1].last, Ended)
            wait_until(lambda: engine.stats().state == "unloaded")
            assert len(paper.made) == round_
            assert paper.made[-1].closed


def test_an_engine_whose_thread_cannot_start_takes_no_request_and_works_later(
    engine: Engine, paper: type[PaperBatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            submit(engine, 1)
    assert engine.stats().waiting == 0
    _, listener = submit(engine, 2)
    wait_until(lambda: paper.made)
    paper.made[-1].go.set()
    assert isinstance(listener.last, Ended)


def test_a_token_that_the_model_does_not_have_is_refused_before_it_can_fail_a_batch(engine: Engine) -> None:
    with pytest.raises(RequestError, match=r"token 1000, but the model has 1000 tokens"):
        engine.submit(Request((1, 1000)), Listener())


def test_an_answer_that_failed_fails_again_when_it_is_read_again(engine: Engine, paper: type[PaperBatcher]) -> None:
    paper.load_fault = ModelLoadError("no memory")
    answer = engine.complete(Request((1,)))
    for _ in range(2):
        with pytest.raises(ModelLoadError):
            list(answer)


def test_an_answer_that_nobody_holds_is_cancelled(engine: Engine, paper: type[PaperBatcher]) -> None:
    batcher = occupied(engine, paper)
    answer = engine.complete(Request((1,)))
    assert engine.stats().waiting == 1
    del answer
    batcher.go.set()
    wait_until(lambda: is_idle(engine))
    assert batcher.admitted == [0]


def test_an_answer_longer_than_the_idle_time_is_followed_by_a_whole_idle_time_and_an_unload(
    paper: type[PaperBatcher], tmp_path: Path
) -> None:
    path = tmp_path / "paper.gguf"
    path.write_bytes(b"GGUF")
    with Engine(path, EngineSettings(idle_unload_s=0.05)) as engine:
        _, listener = submit(engine, 1)
        wait_until(lambda: engine.stats().running == 1)
        time.sleep(0.1)
        assert engine.stats().state == "ready"
        paper.made[-1].go.set()
        assert isinstance(listener.last, Ended)
        wait_until(lambda: engine.stats().state == "unloaded")


# ---- the place in the queue ----


def test_the_place_in_the_queue_is_counted_from_one_and_moves_up_to_zero(
    engine: Engine, paper: type[PaperBatcher]
) -> None:
    seen: list[list[int]] = []
    jobs: list[Any] = []

    def watch(event: Event) -> None:
        if isinstance(event, Text):
            seen.append([job.ahead for job in jobs])

    batcher = occupied(engine, paper)
    listeners = [Listener() for _ in range(3)]
    for token, listener in enumerate(listeners, 1):

        def sink(event: Event, listener: Listener = listener) -> None:
            watch(event)
            listener(event)

        jobs.append(engine.submit(Request((token,)), sink))
    assert [job.ahead for job in jobs] == [1, 2, 3]
    batcher.go.set()
    assert all(isinstance(listener.last, Ended) for listener in listeners)
    assert seen == [[0, 1, 2], [0, 0, 1], [0, 0, 0]]


def test_nobody_is_ahead_of_the_first_while_the_model_loads(
    engine: Engine, paper: type[PaperBatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, load = threading.Event(), engine._load
    monkeypatch.setattr(engine, "_load", lambda: held.wait(60) and load())
    ahead = [submit(engine, token)[0].ahead for token in (1, 2)]
    held.set()
    wait_until(lambda: paper.made)
    paper.made[-1].go.set()
    assert ahead == [0, 1]


def test_whoever_goes_first_moves_the_others_back_and_whoever_leaves_moves_them_up(
    engine: Engine, paper: type[PaperBatcher]
) -> None:
    batcher = occupied(engine, paper)
    first, heard = submit(engine, 1, Priority.BACKGROUND)
    second, _ = submit(engine, 2, Priority.BACKGROUND)
    person, last = submit(engine, 3)
    seen: list[tuple[int, int, int]] = []
    paper.fault = staticmethod(lambda: seen.append((person.ahead, first.ahead, second.ahead)))
    first_end = paper.made[-1]
    assert (first.ahead, second.ahead, person.ahead) == (1, 2, 3)  # until the engine has sorted them
    first.cancel()
    first_end.go.set()
    assert isinstance(heard.last, Ended)
    assert isinstance(last.last, Ended)
    wait_until(lambda: is_idle(engine))
    assert batcher.admitted == [0, 3, 2]
    assert (person.ahead, first.ahead, second.ahead) == (0, 0, 0)


def test_a_completion_tells_its_place(engine: Engine, paper: type[PaperBatcher]) -> None:
    batcher = occupied(engine, paper)
    answers = [engine.complete(Request((token,))) for token in (1, 2)]
    assert [answer.ahead for answer in answers] == [1, 2]
    batcher.go.set()
    assert [list(answer) for answer in answers] == [["word"], ["word"]]
    assert [answer.ahead for answer in answers] == [0, 0]


def test_the_branches_of_a_fork_stand_in_the_queue_one_behind_the_other(
    engine: Engine, paper: type[PaperBatcher]
) -> None:
    batcher = occupied(engine, paper)
    answers = engine.fork(Request((1,)), 3)
    assert [answer.ahead for answer in answers] == [1, 2, 3]
    batcher.go.set()
    assert [list(answer) for answer in answers] == [["word"]] * 3


def test_scores_fail_with_the_engine(engine: Engine, paper: type[PaperBatcher]) -> None:
    paper.load_fault = ModelLoadError("no memory")
    with pytest.raises(ModelLoadError, match="no memory"):
        engine.score((1,), [(2,)])
