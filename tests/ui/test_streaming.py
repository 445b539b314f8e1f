"""What a page does with an answer that is being written: draws what changed, and lets go of it when its tab closes."""

from types import SimpleNamespace

import pytest
from streamlit.runtime.scriptrunner import RerunData, RerunException, StopException

from phireside.ui import streaming
from phireside.ui.knowledge_work import LOADING


class Place:
    """In the place of an `st.empty`: keeps what was drawn."""

    drawn: list["Place"]

    def __init__(self, shown: list[tuple[int, str]], number: int) -> None:
        self._shown, self._number = shown, number

    def markdown(self, text: str) -> None:
        self._shown.append((self._number, text))

    def code(self, text: str, language: str | None, **_: object) -> None:
        self._shown.append((self._number, f"{language}: {text}"))

    def empty(self) -> None:
        self._shown.append((self._number, ""))


class Bar:
    """In the place of an `st.progress`."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def progress(self, _share: float, text: str) -> None:
        self.texts.append(text)


@pytest.mark.parametrize(("step", "said"), [("a.txt", r"a\.txt …"), (LOADING, r"once …"), ("", "Reading 1 file …")])
def test_what_is_done_with_files_ends_in_one_ellipsis(monkeypatch, step, said):
    bar, waits = Bar(), [True, False]
    work = SimpleNamespace(wait=lambda _: waits.pop(), step=step, title="Reading 1 file", done=0, total=1)
    monkeypatch.setattr(streaming.st, "progress", lambda _: bar)
    streaming.watch_files(SimpleNamespace(work=work))
    (text,) = bar.texts
    assert text.endswith(said)
    assert text.count("…") == 1


class Answer:
    """In the place of a `Turn`: gives a text after the other, then ends or is interrupted."""

    def __init__(self, *texts: str, end: BaseException | None = None) -> None:
        self._texts, self._end = list(texts), end
        self.text, self.state, self.stopped, self.ahead = "", "reading", False, 0
        self.steps: list[dict[str, object]] = []
        self.approval: list[dict[str, object]] = []

    def wait(self, _seconds: float) -> bool:
        if not self._texts:
            if self._end:
                raise self._end
            return True
        self.text, self.state = self._texts.pop(0), "writing"
        return False

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def shown(monkeypatch):
    """What was drawn, as (number of the place, text)."""
    shown, places = [], []

    class Whole:
        """In the place of an `st.container`."""

        def empty(self) -> Place:
            places.append(Place(shown, len(places)))
            return places[-1]

    monkeypatch.setattr(streaming.st, "container", Whole)
    monkeypatch.setattr(streaming, "FASTEST", 0)
    monkeypatch.setattr(streaming, "GRACE", 0.01)
    return shown


def test_only_what_changed_is_drawn_again(shown):
    streaming.watch(Answer("One", "One\n```py\nx", "One\n```py\nx\n```\nTwo"))
    assert shown == [
        (0, streaming.STATES["reading"]),
        (0, f"One{streaming.CURSOR}"),
        (0, "One"),
        (1, "py: x"),
        (2, f"Two{streaming.CURSOR}"),
    ]


def test_places_that_are_no_longer_needed_are_emptied(shown):
    streaming.watch(Answer("One\n```py\nx", "One"))
    assert shown[-2:] == [(0, f"One{streaming.CURSOR}"), (1, "")]


def test_answer_of_a_closed_tab_is_stopped(shown, until):
    answer = Answer("One", end=StopException())
    with pytest.raises(StopException):
        streaming.watch(answer)
    until(lambda: answer.stopped)
    assert not streaming._watchers


def test_answer_goes_on_after_a_click_elsewhere(shown):
    answer = Answer("One", end=RerunException(RerunData()))
    with pytest.raises(RerunException):
        streaming.watch(answer)
    assert not answer.stopped
    assert not streaming._watchers


def test_answer_goes_on_while_another_page_shows_it(shown):
    answer = Answer("One", end=StopException())
    with streaming._watching(answer):
        with pytest.raises(StopException):
            streaming.watch(answer)
        streaming._stop_if_alone(answer)
        assert not answer.stopped
    streaming._stop_if_alone(answer)
    assert answer.stopped


@pytest.mark.parametrize(("state", "words"), [("loading", "Loading the model"), ("ready", "Reading")])
def test_it_is_said_that_the_model_is_being_loaded(shown, monkeypatch, state, words):
    there = SimpleNamespace(stats=SimpleNamespace(state=state))
    monkeypatch.setattr(streaming, "loaded_models", lambda: [there])
    streaming.watch(Answer("It"))
    assert words in shown[0][1]


def test_place_in_the_queue_is_shown_until_the_answer_begins(shown):
    answer = Answer("It")
    answer.ahead = 2
    streaming.watch(answer)
    first, last = shown[0][1], shown[-1][1]
    assert "number 2 in the queue" in first
    assert last.startswith("It")
