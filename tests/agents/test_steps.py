"""Every step is shown once, as soon as it is done, with its figures."""

from typing import Any

import pytest
from acting import acts, broken, call, calls
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from phireside.agents import Step, asteps, build_agent, steps
from phireside.chains import Cost
from phireside.errors import RequestError

CONFIG: Any = {"configurable": {"thread_id": "1"}}
USAGE: Any = {
    "input_tokens": 100, "output_tokens": 7, "total_tokens": 107, "input_token_details": {"cache_read": 60}
}  # fmt: skip


def thinking(message: AIMessage, thought: str) -> AIMessage:
    return message.model_copy(update={"additional_kwargs": {"reasoning_content": thought}, "usage_metadata": USAGE})


def brief(found: list[Step]) -> list[tuple[Any, ...]]:
    return [(step.kind, step.text, step.tool, dict(step.arguments)) for step in found]


async def test_thoughts_actions_observations_and_the_answer_in_order(counted: Any) -> None:
    script = [thinking(call("shout", text="hi"), "I shout."), thinking(AIMessage("HI"), "I know.")]
    expected = [
        ("thought", "I shout.", "", {}),
        ("action", "", "shout", {"text": "hi"}),
        ("observation", "HI", "shout", {}),
        ("thought", "I know.", "", {}),
        ("answer", "HI", "", {}),
    ]
    shout = counted.tool("shout")
    assert brief(list(steps(build_agent(acts(*script), [shout]), "Go"))) == expected
    assert brief([step async for step in asteps(build_agent(acts(*script), [shout]), "Go")]) == expected
    assert brief(list(steps(create_agent(acts(*script), [shout]), {"messages": [("user", "Go")]}))) == expected


def test_each_step_says_what_it_cost(counted: Any) -> None:
    model = acts(thinking(call("shout", text="hi"), "I shout."), thinking(AIMessage("HI"), ""))
    found = list(steps(build_agent(model, [counted.tool("shout")]), "Go"))
    kinds = {step.kind: step for step in found}
    assert (kinds["thought"].cost, kinds["thought"].seconds) == (Cost(), 0)
    for kind in ("action", "answer"):
        assert kinds[kind].seconds > 0
        assert kinds[kind].cost == Cost(1, 100, 60, 7)
    assert kinds["observation"].seconds > 0
    assert kinds["observation"].cost == Cost()


def test_several_calls_at_once_are_paid_for_once(counted: Any) -> None:
    both = calls(("shout", {"text": "a"}), ("shout", {"text": "b"}))
    both.usage_metadata = USAGE
    found = list(steps(build_agent(acts(both, AIMessage("AB")), [counted.tool("shout")]), "Go"))
    assert [step.kind for step in found] == ["action", "action", "observation", "observation", "answer"]
    assert [step.cost.generated_tokens for step in found] == [7, 0, 0, 0, 0]


def test_the_text_beside_a_call_is_its_thought(counted: Any) -> None:
    asked = call("shout", text="a").model_copy(update={"content": "Let me shout."})
    found = list(steps(build_agent(acts(asked, AIMessage("A")), [counted.tool("shout")]), "Go"))
    assert brief(found)[:2] == [("thought", "Let me shout.", "", {}), ("action", "", "shout", {"text": "a"})]


def test_a_broken_call_is_a_step(counted: Any) -> None:
    found = list(steps(build_agent(acts(broken("shout", '{"te'), AIMessage("A")), [counted.tool("shout")]), "Go"))
    assert [step.kind for step in found] == ["action", "observation", "answer"]
    assert found[0].arguments == {"": '{"te'}


def test_an_approval_is_a_step_and_nothing_is_shown_twice(counted: Any) -> None:
    model = acts(thinking(call("post", text="hi"), "I post."), AIMessage("Done."))
    agent = build_agent(model, [counted.tool("post", effects="outward")], checkpointer=InMemorySaver())
    before = list(steps(agent, "Go", CONFIG))
    assert [step.kind for step in before] == ["thought", "action", "approval"]
    assert before[-1].tool == "post"
    assert before[-1].arguments == {"text": "hi"}
    assert "sends something off this machine" in before[-1].text
    after = list(steps(agent, Command(resume={"decisions": [{"type": "approve"}]}), CONFIG))
    assert [step.kind for step in after] == ["observation", "answer"]


def test_the_next_turn_shows_its_own_steps_only(counted: Any) -> None:
    model = acts(call("shout", text="a"), AIMessage("A"), call("shout", text="b"), AIMessage("B"))
    agent = build_agent(model, [counted.tool("shout")], checkpointer=InMemorySaver())
    for letter in "AB":
        found = list(steps(agent, "Go", CONFIG))
        assert [step.kind for step in found] == ["action", "observation", "answer"]
        assert found[-1].text == letter


def test_steps_come_as_they_are_done(counted: Any) -> None:
    running = steps(build_agent(acts(call("shout", text="a"), AIMessage("A")), [counted.tool("shout")]), "Go")
    assert next(running).kind == "action"
    assert counted.runs == []
    assert next(running).kind == "observation"
    assert counted.runs == [("shout", "a")]


@pytest.mark.parametrize("name", ["build_agent", "steps", "asteps", "Limits"])
def test_the_room_gives_functions_and_not_the_modules_of_their_names(name: str) -> None:
    import phireside.agents
    import phireside.agents.steps

    assert callable(getattr(phireside.agents, name))


@pytest.mark.parametrize("text", ["", " \n"])
async def test_an_empty_question_is_refused(text: str) -> None:
    agent = build_agent(acts(), [])
    with pytest.raises(RequestError, match="empty"):
        list(steps(agent, text))
    with pytest.raises(RequestError, match="empty"):
        [step async for step in asteps(agent, text)]
