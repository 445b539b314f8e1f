"""Numbers of a calculation come from the question or a result: decoded so, or refused."""

from pathlib import Path
from typing import Any

import hypothesis
import pytest
from acting import acts, call, observations
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from llguidance import LLMatcher, LLTokenizer

from phireside.agents import Limits, NumberBinding, build_agent, steps
from phireside.agents.policies.number_binding import bound_grammar
from phireside.agents.policies.numbers import known_numbers, negatives_in, numbers_in
from phireside.models import ChatGGUF
from phireside.settings import Settings
from phireside.tools import calculator


def allows(grammar: str, text: str) -> bool:
    """Whether a grammar can write a text."""
    tokenizer = LLTokenizer("byte")
    matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(grammar))
    return bool(matcher.consume_tokens(list(text.encode()))) and matcher.is_accepting()


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("It costs $ 1,200.50, not 3.", ["1200.50", "3"]),
        ("4 cats and 4 dogs", ["4", "4"]),
        ("v2 has x3 in 1.2.3", ["1.2"]),
        ("three", []),
        ("50% of 80", ["50", "80"]),
        (".75 * 7e3 + 2", ["0.75", "7e3", "2"]),
        ("\u0663\u0660 cats", ["30"]),
    ],
)
def test_numbers_are_found_in_a_text(text: str, numbers: list[str]) -> None:
    assert numbers_in(text) == numbers


@pytest.mark.parametrize(
    ("text", "negatives"),
    [
        ("It was -5 and fell by 3", ["5"]), ("(-5)", ["5"]), ("\u22125 degrees", ["5"]),
        ("10-3", []), ("10 - 3", []), ("x-3", []),
    ],
)  # fmt: skip
def test_signs_are_seen(text: str, negatives: list[str]) -> None:
    assert negatives_in(text) == negatives


def test_numbers_of_marks_are_not_known() -> None:
    message = ToolMessage("<data 12345678>\n7 cats\n</data 12345678>", tool_call_id="1")
    assert known_numbers([message]) == ["7"]


def test_numbers_of_the_model_itself_are_not_known() -> None:
    messages = [HumanMessage("3 and 4"), AIMessage("99"), ToolMessage("12", tool_call_id="1")]
    assert known_numbers(messages) == ["3", "4", "12"]


@pytest.mark.parametrize("text", ["76 - 25", "25 * (76 + 25)", "76 + 25 - 76"])
def test_the_grammar_writes_calculations_with_the_numbers(text: str) -> None:
    assert allows(bound_grammar(["76", "25"]), text)


@pytest.mark.parametrize("text", ["76 - 26", "7 + 6", "76", "76 - 25 = 51", "7625 + 76", "25% of 76"])
def test_and_nothing_else(text: str) -> None:
    assert not allows(bound_grammar(["76", "25"]), text)


def test_percents_are_written_where_the_question_has_some() -> None:
    assert allows(bound_grammar(["80", "15"], percents=True), "15% of 80")
    assert allows(bound_grammar(["80", "15"], percents=True), "80 - 15%")


@pytest.mark.parametrize("text", ["(-5) - 3", "3 * (3 + (-5))", "5 - 3"])
def test_a_negative_number_is_written_in_brackets(text: str) -> None:
    assert allows(bound_grammar(["5", "3"], ["5"]), text)
    assert allows(bound_grammar(["5", "3"]), text) == ("(-5)" not in text)


@hypothesis.settings(deadline=None, max_examples=40)
@given(st.lists(st.decimals(0, 10**6, places=2).map(str), min_size=2, max_size=4), st.sampled_from("+-*/"))
def test_every_number_of_a_text_can_be_written_as_it_was_found(numbers: list[str], operator: str) -> None:
    found = numbers_in(" and ".join(numbers))
    assert found == numbers
    assert allows(bound_grammar(found), f" {operator} ".join(found))


@pytest.mark.parametrize(
    ("foreign", "expression"),
    [("99", "3 * 99"), (".75", "3 * .75"), ("3e3", "4 * 3e3"), ("0." + "3" * 30, "4 * 0." + "3" * 30)],
)
def test_a_foreign_number_of_another_model_is_refused(foreign: str, expression: str) -> None:
    script = [call("calculator", expression=expression), call("calculator", expression="3 * 4"), AIMessage("12")]
    messages = build_agent(acts(*script), [calculator()], middleware=[NumberBinding()]).invoke(
        {"messages": [("user", "What is 3 times 4?")]}
    )["messages"]
    refused, right = observations(messages)
    assert refused == f"{foreign} stands neither in the question nor in a result. Use numbers from there."
    assert right == "12"


@pytest.mark.parametrize(("question", "choices"), [("3 times 4?", ["calculator", None]), ("Three?", [None, None])])
def test_the_tool_can_be_made_to_come_first(question: str, choices: list[str | None]) -> None:
    model = acts(call("calculator", expression="3 * 4"), AIMessage("12"))
    agent = build_agent(model, [calculator()], middleware=[NumberBinding(first=True)])
    agent.invoke({"messages": [("user", question)]})
    assert [options.get("tool_choice") for options in model.options] == choices


def test_but_not_where_only_an_answer_is_left() -> None:
    model = acts(AIMessage("12"))
    agent = build_agent(model, [calculator()], middleware=[NumberBinding(first=True)], limits=Limits(steps=1))
    assert agent.invoke({"messages": [("user", "3 times 4?")]})["messages"][-1].text == "12"
    assert [options.get("tool_choice") for options in model.options] == [None]


def test_results_can_be_used_in_the_next_step() -> None:
    script = [call("calculator", expression="3 * 4"), call("calculator", expression="12 + 3"), AIMessage("15")]
    messages = build_agent(acts(*script), [calculator()], middleware=[NumberBinding()]).invoke(
        {"messages": [("user", "What is 3 times 4, and 3 more?")]}
    )["messages"]
    assert observations(messages) == ["12", "15"]


def test_without_numbers_nothing_is_bound_and_other_tools_never_are(counted: Any) -> None:
    script = [call("calculator", expression="6 * 7"), call("shout", text="8 9"), AIMessage("42")]
    agent = build_agent(acts(*script), [calculator(), counted.tool("shout")], middleware=[NumberBinding()])
    messages = agent.invoke({"messages": [("user", "What is six times seven?")]})["messages"]
    assert observations(messages) == ["42", "8 9"]


@pytest.mark.real
def test_the_starter_writes_no_other_numbers(settings: Settings, starter_path: Path) -> None:
    model = ChatGGUF(model="starter", settings=settings, temperature=1.0, seed=4, max_tokens=120)
    agent = build_agent(model, [calculator()], limits=Limits(steps=3), middleware=[NumberBinding()])
    question = "Dan had 31 dollars and bought 7 pens for 2 dollars each. How much is left?"
    known, expressions = {"31", "7", "2"}, []
    for step in steps(agent, question):
        known |= set(numbers_in(step.text)) if step.kind == "observation" else set()
        if step.kind == "action":
            expressions.append(step.arguments["expression"])
            assert set(numbers_in(expressions[-1])) <= known
    assert expressions
