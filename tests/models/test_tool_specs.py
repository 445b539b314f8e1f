"""Tools as a model meets them: every way to write one down, choices, closed schemas and their few words."""

from typing import Any

import pytest
from two_tools import add, look_up

from phireside.errors import RequestError
from phireside.models import ChatGGUF
from phireside.models.tools import ToolSpec, choose, closed, signature, specs


def test_a_choice_is_what_langchain_and_openai_call_it() -> None:
    tools = specs([add, look_up])
    every, first = tools, tools[:1]
    for choice in (None, "auto"):
        assert choose(tools, choice) == (every, True)
    for choice in ("any", "required", True):
        assert choose(tools, choice) == (every, False)
    for choice in ("none", False):
        assert choose(tools, choice) == ([], True)
    for choice in ("add", {"type": "function", "function": {"name": "add"}}, {"type": "tool", "name": "add"}):
        assert choose(tools, choice) == (first, False)


@pytest.mark.parametrize(
    "choice", ["subtract", {"type": "function"}, 7, "", {"function": {"name": None}}, {"function": "add"}]
)
def test_a_choice_that_cannot_be_is_refused_with_the_tools_there_are(choice: Any) -> None:
    with pytest.raises(RequestError, match="add, look_up") as refused:
        ChatGGUF().bind_tools([add, look_up], tool_choice=choice)
    assert repr(choice) in refused.value.message


def test_two_tools_of_one_name_and_a_servers_tool_are_refused() -> None:
    with pytest.raises(RequestError, match="Two tools are named 'add'"):
        ChatGGUF().bind_tools([add, look_up.model_copy(update={"name": "add"})])
    assert specs([add, add]) == specs([add])
    with pytest.raises(RequestError, match="web_search"):
        ChatGGUF().bind_tools([{"type": "web_search_preview"}])


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        (["x"], "'x' cannot be used as a tool: Unsupported function"),
        ([None], "None cannot be used as a tool"),
        ("tools", "must be a list"),
        (add, "must be a list"),
        ([{"type": "function", "function": {"name": "f", "parameters": 5}}], "parameters or grammars"),
        ([{"type": "function", "function": {"name": "f"}, "grammars": "a"}], "parameters or grammars"),
    ],
)
def test_what_is_no_tool_is_refused_with_what_is_one(tools: Any, message: str) -> None:
    with pytest.raises(RequestError, match=f"{message}.*Pass functions"):
        ChatGGUF().bind_tools(tools)


def test_schemas_are_closed_where_they_leave_it_open_and_short_in_prompts() -> None:
    schema = {
        "type": "object",
        "properties": {
            "who": {"$ref": "#/$defs/P"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "description": "some\nwords"},
            "free": {"type": "object", "properties": {}, "additionalProperties": True},
            "all": {"allOf": [{"properties": {"x": {}}}]},
        },
        "required": ["who"],
        "$defs": {"P": {"type": "object", "properties": {"n": {"type": ["integer", "null"]}}, "required": ["n"]}},
    }
    tight = closed(schema)
    assert tight["additionalProperties"] is False
    assert tight["$defs"]["P"]["additionalProperties"] is False
    assert tight["properties"]["free"]["additionalProperties"] is True
    assert "additionalProperties" not in tight["properties"]["all"]["allOf"][0]
    assert signature(schema) == (
        '{"who": {"n": integer or null}, "tags": ["a" or "b", ...] (some words), optional, '
        '"free": object, optional, "all": {"x": value, optional}, optional}'
    )


def test_a_recursive_schema_is_named_where_it_comes_back_and_a_large_one_is_cut() -> None:
    node = {"type": "object", "properties": {name: {"$ref": "#/$defs/L"} for name in "abc"}}
    recursive = {"$defs": {"L": node}, "$ref": "#/$defs/L"}
    assert signature(recursive) == '{"a": L, optional, "b": L, optional, "c": L, optional}'
    assert signature({"properties": {"x": {"$ref": "#"}}, "required": ["x"]}) == '{"x": {"x": the same}}'
    kinds = {f"K{i}": {"properties": {f"p{j}": {"$ref": f"#/$defs/K{j}"} for j in range(99)}} for i in range(99)}
    large = signature({"$defs": kinds, "$ref": "#/$defs/K0"})  # a billion words, if it were written out
    assert len(large) == 2001
    assert large.endswith("…")


def test_a_schema_that_is_nested_too_deep_is_refused() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(5000):
        deep = {"type": "object", "properties": {"x": deep}}
    deep = {"title": "Deep", **deep}
    with pytest.raises(RequestError, match="nested too deep"):
        ChatGGUF().bind_tools([{"type": "function", "function": {"name": "f", "parameters": deep}}])
    for method in ("function_calling", "json_mode"):
        with pytest.raises(RequestError, match="nested too deep"):
            ChatGGUF().with_structured_output(deep, method=method)


def test_a_tool_without_a_description_or_arguments_is_one_too() -> None:
    found = specs([{"type": "function", "function": {"name": "now"}}])
    assert found == [ToolSpec("now", "", {"type": "object", "properties": {}, "additionalProperties": False})]
