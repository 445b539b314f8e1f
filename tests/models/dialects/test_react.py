"""ReAct text: what may be written, how it is read in any pieces, and that history reads as it was written."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from phireside.errors import GrammarError, RequestError
from phireside.models.dialects.inputs import checked
from phireside.models.dialects.react import THOUGHT_LENGTH, ReAct, ReActParser
from phireside.models.engine import Vocabulary
from phireside.models.messages import call_lines
from phireside.models.tools import ToolSpec, specs

ARITHMETIC = r"""
start: sum
sum: NUMBER (OP NUMBER)*
OP: / [-+*\/] /
NUMBER: /[0-9]+(\.[0-9]+)?/  // a "comment" with { and "
"""


@tool
def add(a: int, b: int = 0) -> int:
    """Add two whole numbers."""
    return a + b


@tool
def now() -> str:
    """The time."""
    return "noon"


@tool(extras={"grammars": {"expression": {"lark": ARITHMETIC}}})
def calculator(expression: str, note: str | None = None, unit: str = "") -> str:
    """Work out arithmetic."""
    return expression


@pytest.fixture(scope="module")
def vocabulary(starter_path: Path) -> Vocabulary:
    return Vocabulary(starter_path)


def accepts(vocabulary: Vocabulary, lark: str, text: str) -> bool:
    """Whether a grammar takes the whole text and may end there."""
    from llguidance import LLMatcher

    matcher = LLMatcher(vocabulary.guide, LLMatcher.grammar_from_lark(lark), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = vocabulary.tokenize(text, markers=False)
    return matcher.validate_tokens(tokens) == len(tokens) and matcher.consume_tokens(tokens) and matcher.is_accepting()


def call(name: str, args: str, thought: str = "I look.") -> str:
    return f"Thought: {thought}\nAction: {name}\nAction Input: {args}"


# ---- what may be written ----


@pytest.mark.real
@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (call("add", '{"a": 1, "b": 2}'), True),
        (call("add", '{"a": -1}'), True),
        (call("add", '{"a": 1.5}'), False),
        (call("add", '{"b": 1}'), False),
        (call("add", '{"a": 1, "c": 2}'), False),
        (call("add", '{"a":1}'), False),
        (call("add", '{"a": 1} and more'), False),
        (call("subtract", '{"a": 1}'), False),
        (call("now", "{}"), True),
        (call("now", '{"a": 1}'), False),
        (call("calculator", '{"expression": "2249 * 0.85"}'), True),
        (call("calculator", '{"expression": "2249 * 0.85 euros"}'), False),
        (call("calculator", '{"expression": "1", "note": "a \\"b\\"", "unit": "m"}'), True),
        (call("calculator", '{"expression": "1", "unit": "m"}'), True),
        (call("calculator", '{"note": null}'), False),
        ("Thought: I know.\nFinal Answer: It is\n\n42.", True),
        ("Thought: I know.\nFinal Answer: ", False),
        ("Thought: I know.\nFinal Answer:\nIt is 42.", True),
        ("Thought: I know.\nFinal Answer: It is 42.\nThoughts: a Thought: none.", True),
        ("Thought: I know.\nFinal Answer: It is 42.\nFinal Answer:", True),  # it can only end there
        ("Thought: I know.\nFinal Answer: It is 42.\nFinal Answer: It", False),
        ("Thought: I know.\nFinal Answer: It is 42.\n\nThought: I use", False),
        ("Thought: I know.\nFinal Answer: Thought: I use", False),
        ("It is 42.", False),
        (call("now", "{}", thought="é" * THOUGHT_LENGTH), True),
        (call("now", "{}", thought="x" * (THOUGHT_LENGTH + 1)), False),
        (call("now", "{}", thought=""), False),
        (call("now", "{}", thought="two\nlines"), False),
    ],
)
def test_only_a_thought_and_a_call_or_an_answer_can_be_written(vocabulary: Vocabulary, text: str, fits: bool) -> None:
    lark = ReAct().lark(specs([add, now, calculator]), may_answer=True)
    assert accepts(vocabulary, lark, text) is fits


@pytest.mark.real
def test_a_choice_leaves_only_what_was_chosen(vocabulary: Vocabulary) -> None:
    bound, answer = specs([add, now]), "Thought: I know.\nFinal Answer: 1"
    must_call = ReAct().lark(bound, may_answer=False)
    assert accepts(vocabulary, must_call, call("now", "{}"))
    assert not accepts(vocabulary, must_call, answer)
    must_answer = ReAct().lark([], may_answer=True)
    assert accepts(vocabulary, must_answer, answer)
    assert not accepts(vocabulary, must_answer, call("now", "{}"))
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    in_json = ReAct().lark(bound, may_answer=True, answer=schema)
    assert accepts(vocabulary, in_json, 'Thought: I know.\nFinal Answer: {"n": 1}')
    assert not accepts(vocabulary, in_json, answer)


@pytest.mark.real
def test_a_regex_holds_for_an_argument_with_its_escapes(vocabulary: Vocabulary) -> None:
    [path] = checked(
        [{"type": "function", "grammars": {"at": {"regex": r'[a-z/\\"]{1,9}'}}, "function": {
            "name": "open", "parameters": {"type": "object", "properties": {"at": {"type": "string"}},
                                           "required": ["at"]}}}]
    )  # fmt: skip
    lark = ReAct().lark([path], may_answer=False)
    for text in ("a/b", 'a"b', "a\\b"):
        assert accepts(vocabulary, lark, call("open", json.dumps({"at": text})))
    assert not accepts(vocabulary, lark, call("open", json.dumps({"at": "A"})))


NAMES = st.text(alphabet=st.characters(categories=["L", "N"], include_characters="_-./:"), min_size=1, max_size=12)
# What the starter has tokens for.
KEYS = st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF), max_size=6)


@pytest.mark.real
@given(names=st.lists(NAMES, min_size=1, max_size=3, unique=True), key=KEYS)
def test_names_and_keys_are_data_whatever_they_hold(vocabulary: Vocabulary, names: list[str], key: str) -> None:
    parameters = {"type": "object", "properties": {key: {"const": 1}}, "required": [key], "additionalProperties": False}
    own = {"type": "object", "properties": {key: {}, "e": {}}, "required": ["e"]}
    for grammars in ({}, {"e": {"lark": ARITHMETIC}}):
        bound = [ToolSpec(name, "", own if grammars else parameters, grammars) for name in names]
        lark = ReAct().lark(bound, may_answer=True)
        args = {"e": "1 + 2"} if grammars else {key: 1}
        assert accepts(vocabulary, lark, call(names[-1], json.dumps(args, ensure_ascii=False))) or key == "e"


@pytest.mark.parametrize("name", ["", "two words", 'a"b', "a\nb", "x" * 129, "{a}", "<|im_end|>"])
def test_a_name_that_could_not_stand_in_a_prompt_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="A tool is named"):
        ToolSpec(name)


@pytest.mark.parametrize(
    ("lark", "reason"),
    [
        ('start: "a" "\\"" "b"', "needs JSON escapes"),
        ('start: "a\\nb"', "needs JSON escapes"),
        ('start: "a\\\\b"', "needs JSON escapes"),
        ("start: /[^a]+/", "needs JSON escapes"),
        ("start: /.*/", "needs JSON escapes"),
        ("start: /a\\sb/", "needs JSON escapes"),
        ("start: A\nA: ~/b/", "'~' is not allowed"),
        ('start: %json {"type": "string"}', "'%json' is not allowed"),
        ("start: <[2]>", "not allowed"),
        ('start: A\nA: "!".."~"', "'..' is not allowed"),
        ("start: /a\n.*/", "does not end"),
        ('start: "\\x22"', "needs JSON escapes"),
        ('start: "a" }\nstolen: "b"', "cannot be used"),
        ("start: missing", "cannot be used"),
        ("no grammar", "cannot be used"),
    ],
)
def test_a_grammar_whose_text_would_need_escapes_is_refused_with_the_reason(lark: str, reason: str) -> None:
    parameters = {"type": "object", "properties": {"e": {"type": "string"}}}
    written = {
        "type": "function",
        "function": {"name": "f", "parameters": parameters},
        "grammars": {"e": {"lark": lark}},
    }
    with pytest.raises(GrammarError, match=r"The grammar of f's argument 'e'") as caught:
        checked([written])
    assert reason in caught.value.message


def test_a_grammar_for_no_argument_or_of_no_kind_is_refused() -> None:
    function = {"name": "f", "parameters": {"type": "object", "properties": {"e": {"type": "string"}}}}
    with pytest.raises(RequestError, match="no argument of it"):
        checked([{"type": "function", "function": function, "grammars": {"x": {"regex": "a"}}}])
    for neither in ({"gbnf": "a"}, {"regex": 5}, {"lark": ""}, "a"):
        with pytest.raises(GrammarError, match="neither"):
            checked([{"type": "function", "function": function, "grammars": {"e": neither}}])


@pytest.mark.parametrize(
    ("regex", "reason"),
    [("(", "unclosed group"), ("a)|(b", "unopened group"), ("(?=x)", "look-around"), (r"\1", "back")],
)
def test_a_regex_that_does_not_compile_is_refused_with_its_place_and_the_reason(regex: str, reason: str) -> None:
    function = {"name": "f", "parameters": {"type": "object", "properties": {"e": {"type": "string"}}}}
    with pytest.raises(GrammarError, match=f"The grammar of f's argument 'e' does not compile: .*{reason}"):
        checked([{"type": "function", "function": function, "grammars": {"e": {"regex": regex}}}])


# ---- reading ----


def read(pieces: list[str], *, shortened: bool = False) -> AIMessageChunk:
    parser = ReActParser()
    whole = AIMessageChunk(content="")
    for chunk in [chunk for piece in pieces for chunk in parser.feed(piece)] + parser.finish(shortened=shortened):
        whole += chunk
    return whole


def summary(message: AIMessageChunk) -> Any:
    calls = [(c["name"], c["args"]) for c in message.tool_calls]
    return (
        message.content,
        message.additional_kwargs,
        calls,
        [(c["name"], c["args"]) for c in message.invalid_tool_calls],
    )


PARTS = [
    "Thought:", " ", "I do", "\n", "Act", "ion:", "Action: ", "add", "\nAction Input: ", '{"a": "', "\\", '"', "}",
    "Final Answer:", " 42",
]  # fmt: skip


@given(text=st.lists(st.sampled_from(PARTS), max_size=14).map("".join), cuts=st.lists(st.integers(0, 120), max_size=9))
def test_a_text_is_read_the_same_however_it_is_cut(text: str, cuts: list[int]) -> None:
    ends = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert summary(read([text[a:b] for a, b in pairwise(ends)])) == summary(read([text]))


@given(
    thought=st.text(st.characters(exclude_characters="\n", codec="utf-8"), min_size=1, max_size=60),
    args=st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers() | st.none(), max_size=3),
    answer=st.text(max_size=60).filter(lambda text: text.strip()),
)
def test_what_was_written_is_what_is_read(thought: str, args: dict[str, Any], answer: str) -> None:
    called = read([call("add", json.dumps(args, ensure_ascii=False), thought)])
    assert [(c["name"], c["args"]) for c in called.tool_calls] == [("add", args)]
    assert called.content == ""
    final = read([f"Thought: {thought}\nFinal Answer: {answer}"])
    assert final.content == answer.lstrip()
    thoughts = {message.additional_kwargs.get("reasoning_content", "") for message in (called, final)}
    assert thoughts == {thought.lstrip(" ")}


@pytest.mark.parametrize("label", ["Thought:", "Action:", "Action Input:", "Observation:", "Final Answer:"])
def test_an_answer_ends_where_a_line_begins_with_a_label_and_nothing_of_it_is_streamed(label: str) -> None:
    text = f"Thought: Hm.\nFinal Answer: 4 {label} is\nThou\n\n{label} more"
    for pieces in ([text], list(text)):
        assert read(pieces).content == f"4 {label} is\nThou"
    assert read(["Thought: Hm.\nFinal Answer: 4", "\nFinal Ans"]).content == "4\nFinal Ans"


@pytest.mark.parametrize("cut", range(len(call("add", '{"a": [1, {"b": "x"}]}')) + 1))
def test_a_call_that_was_cut_off_is_never_one_that_somebody_could_run(cut: int) -> None:
    text = call("add", '{"a": [1, {"b": "x"}]}')
    message = read([text[:cut]])
    assert len(message.tool_calls) == int(cut == len(text))
    assert message.content == ""


def test_a_call_that_was_shortened_is_an_invalid_one_and_an_answer_is_an_answer() -> None:
    message = read([call("add", '{"a": 1}')], shortened=True)
    assert (message.tool_calls, [c["name"] for c in message.invalid_tool_calls]) == ([], ["add"])
    assert read(["Thought: Hm.\nFinal Answer: 4"], shortened=True).content == "4"


# ---- as history ----


@given(
    thought=st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=THOUGHT_LENGTH),
    args=st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=2),
)
def test_a_call_reads_in_history_as_it_was_written(thought: str, args: dict[str, str]) -> None:
    text = call("add", json.dumps(args, ensure_ascii=False), thought.strip() or "x")
    assert ReAct().turns([read([text])])[0]["content"] == text


def test_messages_of_every_kind_become_react_turns() -> None:
    called = {"name": "add", "args": {"a": 1}, "id": "1", "type": "tool_call"}
    messages = [
        SystemMessage("Be kind."),
        HumanMessage("What is 1 + 0?"),
        AIMessage("I add.", tool_calls=[called]),
        ToolMessage("1", tool_call_id="1"),
        AIMessage("", tool_calls=[called], additional_kwargs={"reasoning_content": "Two\nlines"}),
        ToolMessage("no such number", tool_call_id="1", status="error"),
        AIMessage([{"type": "reasoning", "reasoning": "I know."}, {"type": "text", "text": "It is 1."}]),
        AIMessage("Yes."),
    ]
    assert [(turn["role"], turn["content"]) for turn in ReAct().turns(messages)] == [
        ("system", "Be kind."),
        ("user", "What is 1 + 0?"),
        ("assistant", 'Thought: I add.\nAction: add\nAction Input: {"a": 1}'),
        ("user", "Observation: 1"),
        ("assistant", 'Thought: Two lines\nAction: add\nAction Input: {"a": 1}'),
        ("user", "Observation: Error: no such number"),
        ("assistant", "Thought: I know.\nFinal Answer: It is 1."),
        ("assistant", "Final Answer: Yes."),
    ]
    assert call_lines(AIMessage("", tool_calls=[called])) == ['Action: add\nAction Input: {"a": 1}']


def test_the_system_text_names_each_tool_its_use_and_its_input_in_few_words() -> None:
    text = ReAct().system(specs([add, now, calculator]))
    assert 'add: Add two whole numbers. Input: {"a": integer, "b": integer, optional}' in text
    assert "now: The time. Input: {}" in text
    assert "add, now, calculator" in text
    assert len(text) < 700
    assert ReAct().system([]) == ""
