"""The scheduler's rule as its docstring states it, over random runs."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from phireside.models.engine.request import Priority
from phireside.models.engine.scheduler import SMALLEST_CHUNK, STEP_SECONDS, plan_step


@dataclass(eq=False)
class FakeRun:
    unread: int  # 0 = the answer is being written
    priority: Priority
    ready: int = 0  # beside the token chosen last: what a grammar forces, and guesses
    pending: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.reading = self.unread > 0
        self.pending = [0] * (self.unread or 1 + self.ready)


runs_of = st.builds(
    FakeRun, st.integers(0, 40) | st.integers(0, 5000), st.sampled_from(Priority), st.just(0) | st.integers(0, 90)
)
speeds = st.floats(0, 1e5)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[FakeRun], int]:
    runs = draw(st.lists(runs_of, min_size=1, max_size=64))
    return runs, draw(st.integers(len(runs), 4096) | st.integers(len(runs), len(runs) + 20))


@given(situations(), speeds)
def test_a_batch_is_never_too_large_and_takes_no_more_than_there_is(
    situation: tuple[list[FakeRun], int], speed: float
) -> None:
    runs, n_batch = situation
    plan = plan_step(runs, n_batch, speed)
    assert 0 < sum(count for _, count in plan) <= n_batch
    assert len({id(run) for run, _ in plan}) == len(plan)
    assert all(0 < count <= len(run.pending) for run, count in plan)


@given(situations(), speeds)
def test_every_answer_that_is_written_gets_its_one_token_and_what_it_has_ready_while_there_is_room(
    situation: tuple[list[FakeRun], int], speed: float
) -> None:
    runs, n_batch = situation
    plan = plan_step(runs, n_batch, speed)
    planned = {id(run): count for run, count in plan}
    writing = [run for run in runs if not run.reading]
    assert all(planned.get(id(run), 0) >= 1 for run in writing)
    cut = sum(planned[id(run)] < len(run.pending) for run in writing)
    read = [count for run, count in plan if run.reading]
    assert not cut or (sum(planned.values()) == n_batch and set(read) <= {1})


@given(situations(), speeds)
def test_forced_tokens_and_guesses_take_no_answer_s_one_token_and_no_prompt_s_either(
    situation: tuple[list[FakeRun], int], speed: float
) -> None:
    runs, n_batch = situation
    greedy = [FakeRun(run.unread, run.priority, 10 * n_batch) for run in runs]
    planned = {id(run): count for run, count in plan_step(greedy, n_batch, speed)}
    first = min((run.priority for run in greedy if run.reading), default=None)
    assert all(planned[id(run)] >= 1 for run in greedy if not run.reading or run.priority == first)


def test_a_stretch_too_long_for_a_batch_is_taken_in_pieces() -> None:
    long, short = FakeRun(0, Priority.PERSON, 50), FakeRun(0, Priority.BACKGROUND, 3)
    for expected in ([(long, 15), (short, 1)], [(long, 15), (short, 1)], [(long, 15), (short, 1)]):
        plan = plan_step([long, short], 16, 100.0)
        assert plan == expected
        for run, count in plan:
            del run.pending[: count - (run is short)]
    assert plan_step([long, short], 16, 100.0) == [(long, 6), (short, 4)]


@given(situations(), speeds)
def test_persons_are_read_before_background_work_and_nobody_among_them_starves(
    situation: tuple[list[FakeRun], int], speed: float
) -> None:
    runs, n_batch = situation
    planned = {id(run) for run, _ in plan_step(runs, n_batch, speed)}
    readers = [run for run in runs if run.reading]
    first = min((run.priority for run in readers), default=None)
    assert all((id(run) in planned) == (run.priority == first) for run in readers)


@given(situations(), speeds)
def test_the_room_is_used_and_shared_evenly(situation: tuple[list[FakeRun], int], speed: float) -> None:
    runs, n_batch = situation
    plan = plan_step(runs, n_batch, speed)
    writers = sum(count for run, count in plan if not run.reading)
    readers = [(run, count) for run, count in plan if run.reading]
    read, unread = sum(count for _, count in readers), sum(len(run.pending) for run, _ in readers)
    room = n_batch - writers
    if writers:  # a long prompt must not stop their streams
        room = min(room, max(SMALLEST_CHUNK, len(readers), int(speed * STEP_SECONDS)))
    assert read == min(room, unread)
    cut = [count for run, count in readers if count < len(run.pending)]
    assert max(cut, default=0) - min(cut, default=0) <= 1
    assert all(count <= max(cut) for run, count in readers if cut)


@given(situations())
def test_a_long_prompt_is_read_to_its_end_however_many_short_ones_come(situation: tuple[list[FakeRun], int]) -> None:
    runs, n_batch = situation
    long = FakeRun(100, Priority.PERSON)
    for _ in range(100):
        crowd = [*runs[1:], long]  # each step as on the first day: the others are always new
        if not long.pending:
            return
        for run, count in plan_step(crowd, n_batch, 0.0):
            if run is long:
                del run.pending[:count]
    assert not long.pending
