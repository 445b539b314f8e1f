"""A tool with effects runs only after a person said so, also when the program was started anew in between."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from acting import acting, acts, call, calls, observations
from langchain_core.messages import AIMessage, BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from phireside.agents import Limits, asteps, build_agent, steps
from phireside.errors import RequestError

CONFIG: Any = {"configurable": {"thread_id": "1"}}
GO: Any = {"messages": [("user", "Go")]}


def decide(kind: str, **more: Any) -> Command[Any]:
    return Command(resume={"decisions": [{"type": kind, **more}]})


def script() -> list[AIMessage]:
    return [call("post", text="hi"), AIMessage("Done.")]


def ended(result: Any) -> list[BaseMessage]:
    assert "__interrupt__" not in result
    messages: list[BaseMessage] = result["messages"]
    return messages


@pytest.mark.parametrize(("effects", "said"), [("outward", "sends something off"), ("writes", "changes something")])
def test_a_tool_with_effects_waits_for_a_person(counted: Any, effects: str, said: str) -> None:
    agent = build_agent(acts(*script()), [counted.tool("post", effects=effects)], checkpointer=InMemorySaver())
    request = agent.invoke(GO, CONFIG)["__interrupt__"][0].value["action_requests"][0]
    assert counted.runs == []
    assert (request["name"], request["args"]) == ("post", {"text": "hi"})
    assert request["description"].startswith(f"post {said}")
    assert ended(agent.invoke(decide("approve"), CONFIG))[-1].text == "Done."
    assert counted.runs == [("post", "hi")]


def test_what_is_refused_is_not_run_and_the_model_is_told(counted: Any) -> None:
    agent = build_agent(acts(*script()), [counted.tool("post", effects="outward")], checkpointer=InMemorySaver())
    agent.invoke(GO, CONFIG)
    messages = ended(agent.invoke(decide("reject", message="Not now."), CONFIG))
    assert counted.runs == []
    assert "Not now." in observations(messages)[0]


def test_what_is_edited_is_run_as_edited(counted: Any) -> None:
    agent = build_agent(acts(*script()), [counted.tool("post", effects="outward")], checkpointer=InMemorySaver())
    agent.invoke(GO, CONFIG)
    agent.invoke(decide("edit", edited_action={"name": "post", "args": {"text": "bye"}}), CONFIG)
    assert counted.runs == [("post", "bye")]


@pytest.mark.parametrize(("decision", "runs"), [("approve", [("post", "hi")]), ("reject", [])])
def test_nobody_is_asked_twice_for_the_same(counted: Any, decision: str, runs: list[Any]) -> None:
    model = acts(call("post", text="hi"), call("post", text="hi"), AIMessage("Done."))
    agent = build_agent(
        model, [counted.tool("post", effects="outward"), counted.tool("other")], checkpointer=InMemorySaver()
    )
    agent.invoke(GO, CONFIG)
    assert ended(agent.invoke(decide(decision), CONFIG))[-1].text == "Done."
    assert counted.runs == runs


def test_each_of_two_calls_with_the_same_id_is_asked_for(counted: Any) -> None:
    both = calls(("post", {"text": "a"}), ("post", {"text": "b"}))
    for each in both.tool_calls:
        each["id"] = "c"
    agent = build_agent(
        acts(both, AIMessage("Done.")), [counted.tool("post", effects="writes")], checkpointer=InMemorySaver()
    )
    requests = agent.invoke(GO, CONFIG)["__interrupt__"][0].value["action_requests"]
    assert [each["args"]["text"] for each in requests] == ["a", "b"]
    decisions = [{"type": "reject"}, {"type": "approve"}]
    agent.invoke(Command(resume={"decisions": decisions}), CONFIG)
    assert counted.runs == [("post", "b")]


@pytest.mark.parametrize(
    ("resume", "said"),
    [
        ({"decisions": []}, "1 calls wait for approval, but there are 0 decisions"),
        ({"decisions": [{"type": "approve"}] * 2}, "there are 2 decisions"),
        ({"decisions": [{"type": "aprove"}]}, "approve, edit, reject"),
        ({"decisions": [{}]}, "no type"),
        ({"decisions": ["approve"]}, "no type"),
        ({"decisions": [{"type": "edit"}]}, "edited_action"),
        ({"decisions": [{"type": "edit", "edited_action": {"name": "post"}}]}, "edited_action"),
        ({"decisions": [{"type": "reject", "message": 5}]}, "no text"),
        ({"decision": [{"type": "approve"}]}, "no list of decisions"),
        ("approve", "no list of decisions"),
    ],
)
async def test_decisions_that_do_not_fit_are_refused_and_the_turn_waits_on(
    counted: Any, resume: Any, said: str
) -> None:
    agent = build_agent(acts(*script()), [counted.tool("post", effects="outward")], checkpointer=InMemorySaver())
    interrupt = agent.invoke(GO, CONFIG)["__interrupt__"][0]
    with pytest.raises(RequestError, match=said):
        list(steps(agent, Command(resume=resume), CONFIG))
    with pytest.raises(RequestError, match=said):
        [step async for step in asteps(agent, Command(resume={interrupt.id: resume}), CONFIG)]
    good = {interrupt.id: {"decisions": [{"type": "approve"}]}}
    assert [step.kind for step in steps(agent, Command(resume=good), CONFIG)] == ["observation", "answer"]
    assert counted.runs == [("post", "hi")]


def test_tools_without_effects_run_at_once_and_so_do_all_without_approval(counted: Any) -> None:
    tools = [counted.tool("post", effects="none"), counted.tool("other")]
    assert ended(build_agent(acts(*script()), tools).invoke(GO))[-1].text == "Done."
    effective = [counted.tool("post", effects="writes")]
    assert ended(build_agent(acts(*script()), effective, approve=False).invoke(GO))[-1].text == "Done."
    assert counted.runs == [("post", "hi")] * 2


def test_an_approval_that_could_not_wait_is_refused_at_once(counted: Any) -> None:
    with pytest.raises(RequestError, match=r"post must be approved.*InMemorySaver"):
        build_agent(acts(), [counted.tool("post", effects="outward"), counted.tool("other")])


def test_the_limit_of_steps_counts_on_through_an_approval(counted: Any) -> None:
    model = acts(*[call("post", text=str(number)) for number in range(9)])
    agent = build_agent(
        model, [counted.tool("post", effects="writes")], checkpointer=InMemorySaver(), limits=Limits(steps=3)
    )
    result = agent.invoke(GO, CONFIG)
    while "__interrupt__" in result:
        result = agent.invoke(decide("approve"), CONFIG)
    assert len(model.asked) == 3
    assert len(counted.runs) == 2
    assert result["messages"][-1].response_metadata["ended_by"] == "steps"


def test_so_do_the_seconds_without_those_of_the_person(counted: Any) -> None:
    kept, tools = InMemorySaver(), [counted.tool("post", effects="outward")]

    def slow(messages: list[BaseMessage]) -> AIMessage:
        time.sleep(0.1)
        return call("post", text="hi")

    build_agent(acting(slow), tools, checkpointer=kept, limits=Limits(seconds=60)).invoke(GO, CONFIG)
    time.sleep(0.1)
    agent = build_agent(acts(AIMessage("Done.")), tools, checkpointer=kept, limits=Limits(seconds=0.1))
    assert 0.1 <= agent.get_state(CONFIG).values["run_seconds"] < 60
    assert ended(agent.invoke(decide("approve"), CONFIG))[-1].response_metadata["ended_by"] == "seconds"
    assert counted.runs == []


def test_an_agent_built_anew_goes_on_where_the_old_one_waits(counted: Any) -> None:
    kept, first, second = InMemorySaver(), *script()
    tools = [counted.tool("post", effects="outward")]
    assert [s.kind for s in steps(build_agent(acts(first), tools, checkpointer=kept), "Go", CONFIG)][-1] == "approval"
    found = list(steps(build_agent(acts(second), tools, checkpointer=kept), decide("approve"), CONFIG))
    assert [step.kind for step in found] == ["observation", "answer"]
    assert counted.runs == [("post", "hi")]


PROGRAM = """
import sys
sys.path.insert(0, {plugins!r})
from acting import acts, call
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from phireside.agents import build_agent

@tool
def post(text: str) -> str:
    'Posts.'
    raise SystemExit("It ran unasked.")

post.metadata = {{"effects": "outward"}}
with SqliteSaver.from_conn_string({file!r}) as kept:
    agent = build_agent(acts(call("post", text="hi")), [post], checkpointer=kept)
    print(list(agent.invoke({go!r}, {config!r})))
"""


def test_and_so_does_a_new_program_with_a_checkpointer_on_disk(counted: Any, tmp_path: Path, root: Path) -> None:
    sqlite = pytest.importorskip("langgraph.checkpoint.sqlite")
    file = str(tmp_path / "agents.db")
    code = PROGRAM.format(plugins=str(root / "tests" / "plugins"), file=file, go=GO, config=CONFIG)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd="/", timeout=100, check=False
    )
    assert "__interrupt__" in done.stdout, done.stderr
    with sqlite.SqliteSaver.from_conn_string(file) as kept:
        agent = build_agent(acts(AIMessage("Done.")), [counted.tool("post", effects="outward")], checkpointer=kept)
        assert [step.text for step in steps(agent, decide("approve"), CONFIG)] == ["HI", "Done."]
    assert counted.runs == [("post", "hi")]
