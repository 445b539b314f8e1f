"""The scenarios page in AppTest: which there are, a run that is watched, stopped, kept, repeated and compared."""

import threading
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from one_sum import ONE_SUM
from pages import fine, open_page, press, said
from streamlit.testing.v1 import AppTest

from phireside.agents.scenarios import SHIPPED
from phireside.ui import measuring, scenario_work

GOOD = f"""
name: A *sum*
description: It computes.
passes-on: [scripted]
{ONE_SUM}"""
WRONG = (
    "turns: [{user: 'Who are you?', expect: [{contains: a lamp}], script: [{answer: '![me](http://evil.example/x)'}]}]"
)


class Waiting(BaseChatModel):
    """Says yes when it is allowed to."""

    gate: Any

    @property
    def _llm_type(self) -> str:
        return "waiting"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(**kwargs)

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        assert self.gate.wait(60)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Yes."))])


@pytest.fixture
def scenarios(parts, tmp_path, monkeypatch):
    """`scenarios()` opens the page in a browser session of its own; there are two scenarios, of which one fails."""
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "good.yaml").write_text(GOOD)
    (shipped / "wrong.yaml").write_text(WRONG)
    monkeypatch.setattr(scenario_work, "SHIPPED", shipped)

    def opened(**address: str) -> AppTest:
        return open_page("scenarios_page", **address)

    yield opened
    measuring.stop_all()


@pytest.fixture
def gate(monkeypatch):
    """The model waits until this is set."""
    gate = threading.Event()
    monkeypatch.setattr(scenario_work, "known_models", lambda cases, options, catalog: options)
    monkeypatch.setattr("phireside.ui.measuring.load_chat_model", lambda *args, **given: Waiting(gate=gate))
    yield gate
    gate.set()


@pytest.fixture
def work(parts, until):
    """`work()` waits for the end of what runs."""

    def wait():
        until(lambda: scenario_work.work(parts.settings).ended)
        return scenario_work.work(parts.settings)

    return wait


def run_all(app: AppTest, work: Any) -> AppTest:
    """Run everything as the files say, and look at the result."""
    app.selectbox(key="scenarios-model").set_value("scripted")
    press(app, "run-scenarios")
    work()
    return fine(app.run())


# ---- what there is ----


def test_the_shipped_scenarios_are_listed(scenarios, monkeypatch):
    monkeypatch.setattr(scenario_work, "SHIPPED", SHIPPED)
    app = scenarios()
    assert len(app.checkbox) == len(list(SHIPPED.glob("*.yaml")))
    assert "It computes" not in said(app)
    assert "passes on scripted" in said(app)
    assert not app.error
    assert "None yet." in said(app)


def test_names_are_data_and_own_files_stand_beside_the_shipped_ones(scenarios, parts):
    own = parts.settings.scenarios_dir
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("turns: [{user: Hello}]")
    (own / "bad.yaml").write_text("turns: [{user: 3}]")
    app = scenarios()
    assert r"A \*sum\*" in [box.label for box in app.checkbox]
    assert "yours: mine.yaml" in said(app)
    assert "bad.yaml:1" in said(app), "What is wrong is named."
    assert app.button(key="run-scenarios").label == "Run all 3"
    app.checkbox(key="choose-mine").check().run()
    assert app.button(key="run-scenarios").label == "Run the 1 chosen"


def test_files_that_are_sent_are_kept_or_refused_by_name(scenarios, parts):
    app = scenarios()
    files = [("mine.yaml", b"turns: [{user: Hello}]", "text/yaml"), ("bad.yaml", b"turns: 3", "text/yaml")]
    app.file_uploader(key="scenarios-add-0").set_value(files)
    fine(app.run())
    assert [file.name for file in parts.settings.scenarios_dir.iterdir()] == ["mine.yaml"]
    assert "bad.yaml:1" in app.error[0].value.replace("\\", "")
    assert "mine" in {box.label.strip("*") for box in app.checkbox}
    assert not fine(app.run()).error, "It is said once."


# ---- a run ----


def test_a_run_ends_in_its_result_step_by_step(scenarios, work):
    app = run_all(scenarios(), work)
    assert app.title[0].value == "1 of 2 passed"
    table = app.dataframe[0].value
    assert list(table["Scenario"]) == ["A *sum*", "wrong"]
    assert list(table["Runs passed"]) == ["1 of 1", "0 of 1"]
    assert "FAILED · wrong" in app.selectbox[-1].options[0], "What failed comes first."
    assert "contains: a lamp" in said(app)
    assert not any("![" in element.value for element in app.main.markdown), "Text is data."
    app.selectbox[-1].set_value(1).run()
    assert "I compute." in said(app)
    assert '**calculator** {"expression": "2 + 3"}' in said(app)
    assert "It is 5." in said(app)
    app = press(app, "all-runs")
    assert "1 of 2 passed" in said(app)


def test_a_failure_on_a_model_that_the_file_does_not_name_is_expected(scenarios, work):
    (scenario_work.SHIPPED / "wrong.yaml").write_text(f"passes-on: [phi-3]\n{WRONG}")
    app = scenarios()
    assert "as *failed, as expected*" in said(app)
    app = run_all(app, work)
    assert list(app.dataframe[0].value[""]) == ["passed", "failed, as expected"]
    assert app.selectbox[-1].options[0] == "failed, as expected · wrong"
    assert "1 failed as expected" in said(app)


def test_a_run_goes_on_while_pages_come_and_go_and_another_session_sees_it(scenarios, gate, work):
    app = scenarios()
    app.checkbox(key="choose-wrong").check()
    press(app, "run-scenarios")
    assert "0 of 1 runs have ended" in str(app.get("progress")[0].proto)
    assert not [button for button in app.button if button.key == "run-scenarios"]
    other = scenarios()
    assert other.button(key="stop")
    gate.set()
    work()
    assert fine(app.run()).title[0].value == "0 of 1 passed", "Who began it is shown the result."
    other = fine(other.run())
    assert other.title[0].value == "Scenarios"
    assert "0 of 1 passed" in said(other)


def test_what_the_agent_does_is_seen_while_it_does_it(scenarios, parts, monkeypatch, work, until):
    gate, talk = threading.Event(), scenario_work.LiveRun._watch

    def slow(self, case, seed, news):
        talk(self, case, seed, news)
        assert gate.wait(60)

    monkeypatch.setattr(scenario_work.LiveRun, "_watch", slow)
    app = scenarios()
    app.selectbox(key="scenarios-model").set_value("scripted")
    app.checkbox(key="choose-A *sum*").check()
    press(app, "run-scenarios")
    until(lambda: any(each.lines for each in scenario_work.work(parts.settings).live.watched()))
    shown = said(fine(app.run()))
    gate.set()
    assert "I compute." in shown
    assert "It is 5." not in shown
    work()


def test_a_run_that_is_stopped_keeps_what_had_ended(scenarios, gate, work):
    app = scenarios()
    press(app, "run-scenarios")
    app = press(app, "stop")
    assert "Stopping" in str(app.get("progress")[0].proto)
    gate.set()
    work()
    app = fine(app.run())
    assert "Stopped" in said(app)


def test_a_model_that_is_not_here_is_said_and_nothing_begins(scenarios, parts):
    (scenario_work.SHIPPED / "good.yaml").write_text(GOOD + "model: nosuch\n")
    app = scenarios()
    app.checkbox(key="choose-A *sum*").check()
    app = press(app, "run-scenarios")
    assert "nosuch" in app.error[0].value
    assert scenario_work.work(parts.settings) is None
    assert app.button(key="run-scenarios")


# ---- kept runs ----


def test_those_that_failed_are_run_again_and_compared(scenarios, work):
    app = run_all(scenarios(), work)
    first = app.query_params["run"]
    file = scenario_work.SHIPPED / "wrong.yaml"
    file.write_text(WRONG.replace("![me](http://evil.example/x)", "I am a lamp."))
    assert app.button(key="run-failed").label == "Run the 1 that failed again"
    press(app, "run-failed")
    work()
    app = fine(app.run())
    assert app.title[0].value == "1 of 1 passed"
    assert app.query_params["run"] != first
    assert "run-failed" not in {button.key for button in app.button}
    (box,) = [box for box in app.selectbox if box.label == "Compare with"]
    box.set_value(first).run()
    assert "Of 1 runs with the same seed, **1 pass only now** and **0 only then**" in said(app)
    table = app.dataframe[0].value
    assert dict(zip(table["Scenario"], table[""], strict=True)) == {"wrong": "↑ better", "A *sum*": "only there"}
    assert len(app.get("vega_lite_chart")) == 1


def test_several_seeds_have_an_interval_and_a_transcript_each(scenarios, work):
    app = scenarios()
    app.number_input(key="scenarios-seeds").set_value(3)
    app = run_all(app, work)
    assert list(app.dataframe[0].value["Runs passed"]) == ["3 of 3", "0 of 3"]
    assert len(app.get("vega_lite_chart")) == 1
    assert len(app.selectbox[-1].options) == 6


def test_a_scenario_whose_file_is_gone_is_named(scenarios, work):
    app = run_all(scenarios(), work)
    (scenario_work.SHIPPED / "wrong.yaml").unlink()
    app = fine(app.run())
    assert app.button(key="run-failed").disabled
    assert "No file of these is there any more: wrong" in said(app)


def test_a_run_is_deleted_after_asking_once_more(scenarios, work, parts):
    app = run_all(scenarios(), work)
    runs = scenario_work.runs(parts.settings)
    app = press(press(app, "delete-run"), "delete-run-no")
    assert len(runs.all()[0]) == 1
    app = press(press(app, "delete-run"), "delete-run-yes")
    assert runs.all()[0] == []
    assert app.title[0].value == "Scenarios"


def test_files_that_are_no_runs_are_named_and_an_address_that_names_none_is_said(scenarios, work, parts):
    run_all(scenarios(), work)
    (parts.settings.runs_dir / "scenarios-20261122-101010-abcdef.json").write_text("{")
    app = scenarios()
    assert "scenarios-20261122-101010-abcdef.json was passed over" in said(app)
    assert "1 of 2 passed" in said(app)
    app = scenarios(run="../../secret")
    assert "There is no run" in app.error[0].value
    assert app.button(key="all-runs")
