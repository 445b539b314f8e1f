"""The evaluate page in AppTest: search and answers, measured, watched, stopped, kept and compared."""

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from answers import Answers
from hashed import HashedEmbeddings
from pages import fine, open_page, press, said
from streamlit.testing.v1 import AppTest

from phireside.agents.assistant import close_bases
from phireside.errors import EngineError, TurnRunningError
from phireside.retrieval import KnowledgeBase
from phireside.ui import evaluate_page, evaluation_work, measuring

TEXTS = {
    "fire": "A campfire needs dry wood, a place without grass, and air from below. It is put out with water and sand.",
    "ice": "Ice carries a person at ten centimetres of thickness, if it is clear and the lake has been quiet for days.",
    "boat": "A boat on the lake needs two oars, a rope and a bucket. In spring it is painted, from below and inside.",
}
QUERIES = b'{"_id": "q1", "text": "dry wood for a campfire"}\n{"_id": "q2", "text": "a boat with two oars"}\n'
QRELS = b"q1\tfire\t1\nq2\tboat\t1\n"
LINES = [
    {"question": "How long?", "answer": "Three months. [1]", "passages": ["Three months."], "known": ["three months"]},
    {"question": "How much?", "answer": "BREAK. [1]", "passages": ["Nothing."]},
    {"question": "Which?"},
]


class Gated(Answers):
    """Answers when it is allowed to."""

    gate: Any

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        assert self.gate.wait(60)
        yield from super()._stream(*args, **kwargs)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        while not self.gate.is_set():
            await asyncio.sleep(0.01)
        async for each in super()._astream(*args, **kwargs):
            yield each


class Model:
    """Judges, answers and writes questions, after its gate is open; `loaded` has what it was made with."""

    def __init__(self) -> None:
        self.gate, self.loaded = threading.Event(), list[tuple[str, dict[str, Any]]]()
        self.gate.set()

    def load(self, name: str, _settings: Any = None, **given: Any) -> Any:
        self.loaded.append((name, given))
        return Gated(rule=self.rule, gate=self.gate, asked=[], arguments=[], left=[])

    def rule(self, messages: Any) -> Any:
        text = str(messages)
        if "BREAK" in text:
            return EngineError("It *broke*.")
        if "Write one short question" in text:
            return "What does it need?"
        return "4" if "digit" in text else "What is asked?" if "Write the question" in text else "yes"


@pytest.fixture
def model(monkeypatch):
    model = Model()
    monkeypatch.setattr("phireside.ui.measuring.load_chat_model", model.load)
    yield model
    model.gate.set()


@pytest.fixture
def evaluate(parts, model, monkeypatch):
    """`evaluate()` opens the page in a browser session of its own."""
    monkeypatch.setattr("phireside.agents.assistant.embeddings_named", lambda _: HashedEmbeddings(64))
    monkeypatch.setattr(evaluation_work, "real_name", lambda name, *_: name or "a model")
    monkeypatch.setattr("phireside.ui.evaluation_work.embeddings", lambda _: HashedEmbeddings(64))

    def opened(**address: str) -> AppTest:
        return open_page("evaluate_page", **address)

    yield opened
    model.gate.set()
    measuring.stop_all()
    close_bases()


@pytest.fixture
def lake(parts):
    """A base of three documents."""
    base = KnowledgeBase.named("lake", parts.settings.bases_dir, HashedEmbeddings(64), create=True)
    for source, text in TEXTS.items():
        base.add_text(text, source=source)
    base.close()


@pytest.fixture
def ended(parts, until):
    """`ended(app, kind)` waits for what is at work and draws the page again."""

    def wait(app: AppTest, kind: str = "retrieval") -> AppTest:
        work = measuring.current(parts.settings, kind)
        until(lambda: work.ended)
        assert work.error is None, work.error
        return fine(app.run())

    return wait


def judged(app: AppTest, queries: bytes = QUERIES, qrels: bytes = QRELS) -> AppTest:
    """The form with questions that people judged."""
    fine(app.radio(key="search-questions").set_value(evaluate_page.JUDGED).run())
    app.file_uploader(key="search-queries").set_value(("queries.jsonl", queries, "application/json"))
    app.file_uploader(key="search-qrels").set_value(("test.tsv", qrels, "text/tab-separated-values"))
    return fine(app.run())


def answers_form(app: AppTest, rows: list[Any] = LINES) -> AppTest:
    fine(app.segmented_control(key="evaluate-pick").set_value("answers").run())
    text = "\n".join(json.dumps(row) for row in rows).encode()
    app.file_uploader(key="answers-file").set_value(("a*.jsonl", text, "application/json"))
    return fine(app.run())


# ---- search ----


def test_without_a_base_there_is_nothing_to_search(evaluate):
    app = evaluate()
    assert evaluate_page.NO_BASE.replace("\\", "") in said(app)
    assert [button.key for button in app.button if button.key == "begin-retrieval"] == []


def test_the_files_of_a_chat_are_not_offered(evaluate, lake, parts):
    KnowledgeBase.named(f"chat-{'0a' * 16}", parts.settings.bases_dir, HashedEmbeddings(64), create=True).close()
    app = evaluate()
    assert app.selectbox(key="search-base").options == ["lake"]
    fine(app.segmented_control(key="evaluate-pick").set_value("answers").run())
    fine(app.radio(key="answers-origin").set_value(evaluate_page.BASE).run())
    assert app.selectbox(key="answers-base").options == ["lake"]


def test_judged_questions_are_measured_stage_by_stage(evaluate, lake, ended):
    app = evaluate()
    assert app.button(key="begin-retrieval").disabled is False
    app = judged(app)
    app = ended(press(app, "begin-retrieval"))
    assert app.title[0].value == "Search in lake"
    assert "2 queries, at 10 · judged by people" in said(app)
    table = app.dataframe[0].value
    assert list(table["Stage"]) == ["dense", "keyword", "hybrid", "feedback"]
    assert all(0 < value <= 1 for value in table["nDCG@10"])
    assert len(app.get("vega_lite_chart")) == 2
    assert set(app.dataframe[1].value["Question"]) == {"dry wood for a campfire", "a boat with two oars"}
    app = fine(app.segmented_control(key="search-measure").set_value("P").run())
    assert list(app.dataframe[1].value["P"]) == [0.1, 0.1]
    app = press(app, "all-runs")
    assert "2 queries, at 10 · best nDCG " in said(app)


def test_questions_of_a_model_are_marked_and_asked_again_later(evaluate, lake, ended, model):
    app = evaluate()
    app.number_input(key="search-count").set_value(2)
    app = ended(press(app, "begin-retrieval"))
    assert "2 queries written by a model, judged by nobody" in said(app)
    assert re.search(r"questions by \w", said(app))
    first = app.query_params["run"]
    asked = len(model.loaded)
    app = press(app, "all-runs")
    fine(app.radio(key="search-questions").set_value(evaluate_page.EARLIER).run())
    app = ended(press(app, "begin-retrieval"))
    assert len(model.loaded) == asked, "Nobody wrote new ones."
    (box,) = [box for box in app.selectbox if box.label == "Compare with"]
    box.set_value(first)
    app = fine(app.run())
    assert "2 questions, the same in both" in said(app)
    assert list(app.dataframe[0].value["Stage"]) == ["dense", "keyword", "hybrid", "feedback"]
    assert len(app.get("vega_lite_chart")) == 1


def test_other_questions_are_compared_with_a_warning(evaluate, lake, ended):
    app = ended(press(judged(evaluate()), "begin-retrieval"))
    first = app.query_params["run"]
    app = judged(press(app, "all-runs"), QUERIES.replace(b"with two oars", b"and a rope"))
    app = ended(press(app, "begin-retrieval"))
    (box,) = [box for box in app.selectbox if box.label == "Compare with"]
    box.set_value(first)
    assert "Not the same questions" in said(fine(app.run()))


def test_judgments_that_do_not_fit_are_said_and_the_form_stays(evaluate, lake, parts, until):
    app = press(judged(evaluate(), qrels=b"q1\tnothing.md\t1\n"), "begin-retrieval")
    until(lambda: measuring.current(parts.settings, "retrieval").ended)
    app = fine(app.run())
    assert "No document of the base is 'nothing.md'" in said(app)
    assert app.button(key="begin-retrieval")


def test_an_evaluation_goes_on_in_another_session_and_can_be_stopped(evaluate, lake, model, parts, until):
    model.gate.clear()
    app, late = evaluate(), evaluate()
    press(app, "begin-retrieval")
    work = measuring.current(parts.settings, "retrieval")
    late = press(late, "begin-retrieval")
    assert late.button(key="stop")
    assert measuring.current(parts.settings, "retrieval") is work, "One at a time."
    with pytest.raises(TurnRunningError):
        measuring.begin(parts.settings, "retrieval", lambda: work)
    assert [button.key for button in app.button if button.key == "begin-retrieval"] == []
    other = press(evaluate(), "stop")
    model.gate.set()
    until(lambda: measuring.current(parts.settings, "retrieval").ended)
    assert "Stopped" in said(fine(other.run()))
    assert "Stopped" in said(fine(app.run()))
    assert evaluation_work.searches(parts.settings).all()[0] == []


# ---- answers ----


def test_answers_of_a_file_are_judged_and_the_unscored_are_named(evaluate, ended):
    app = ended(press(answers_form(evaluate()), "begin-answers"), "answers")
    assert app.title[0].value == r"Answers of a\*\.jsonl"
    means = app.dataframe[0].value
    assert dict(zip(means["Metric"], means["Mean"], strict=True))["Exact match"] == 1.0
    assert "2 unscored" in said(app)
    assert "It *broke*" in said(app)
    assert "Line 3" in said(app)
    assert list(app.dataframe[1].value["Question"]) == ["How long?", "How much?"]
    assert len(app.get("vega_lite_chart")) == 1
    app = press(app, "all-runs")
    assert "2 unscored" in said(app), "The list of judged answers is shown again, and not that of searches."


def test_two_judgements_are_compared_on_the_questions_that_both_have(evaluate, ended):
    app = ended(press(answers_form(evaluate()), "begin-answers"), "answers")
    first = app.query_params["run"]
    rows = [{**LINES[0], "answer": "Three weeks. [1]"}, {"question": "New?", "answer": "Yes."}]
    app = ended(press(answers_form(press(app, "all-runs"), rows), "begin-answers"), "answers")
    (box,) = [box for box in app.selectbox if box.label == "Compare with"]
    box.set_value(first)
    app = fine(app.run())
    table = app.dataframe[0].value
    row = dict(zip(table["Metric"], zip(table["Then"], table["Now"], table["Questions"], strict=True), strict=True))
    assert row["Exact match"] == (1.0, 0.0, 1)


def test_a_base_answers_and_is_judged(evaluate, lake, ended, model):
    app = fine(evaluate().segmented_control(key="evaluate-pick").set_value("answers").run())
    fine(app.radio(key="answers-origin").set_value(evaluate_page.BASE).run())
    assert app.button(key="begin-answers").disabled
    app.text_area(key="answers-questions").set_value("What needs a campfire?\n\nWhat needs a boat?")
    app.toggle(key="answers-embeddings").set_value(True)
    app = ended(press(fine(app.run()), "begin-answers"), "answers")
    assert app.title[0].value == "Answers of lake"
    assert "answered by" in said(app)
    assert list(app.dataframe[-1].value["Question"]) == ["What needs a campfire?", "What needs a boat?"]
    assert {given.get("priority") for _, given in model.loaded} == {"background"}


def test_what_was_judged_before_a_stop_is_kept(evaluate, model, ended, parts, until):
    rows = [{"question": f"Q{number}?", "answer": "" if number < 2 else "Yes."} for number in range(4)]
    model.gate.clear()
    app = press(answers_form(evaluate(), rows), "begin-answers")
    work = measuring.current(parts.settings, "answers")
    until(lambda: len(work.report.judged) == 2)
    app = ended(press(app, "stop"), "answers")
    assert "**Stopped** after 2 of 4 answers" in said(app)


def test_an_address_that_names_no_run_is_said(evaluate):
    for name in ("answers-x", "retrieval-20261122-101010-abcdef"):
        app = evaluate(run=name)
        assert len(app.error) == 1
        assert app.button(key="all-runs")
