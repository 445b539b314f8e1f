"""Tools and structured output through `ChatGGUF`: bound in every way LangChain has, enforced, streamed, in history."""

import datetime
import json
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic.v1 import BaseModel as BaseModelV1
from two_tools import add, look_up

from phireside.errors import EngineError, GrammarError, RequestError
from phireside.models import ChatGGUF, Grammar, StopSignal
from phireside.settings import Settings


@tool
def spell(word: Annotated[str, Field(max_length=12)]) -> str:
    """Spell a word."""
    return word


class Person(BaseModel):
    """Somebody."""

    name: str = Field(description="first name", max_length=12)
    age: int = Field(ge=0, le=150)


class OldPerson(BaseModelV1):
    name: str
    age: int


class PersonDict(TypedDict):
    """Somebody."""

    name: Annotated[str, ..., "first name"]
    age: int


SCHEMAS = [Person, OldPerson, PersonDict, Person.model_json_schema(), convert_to_json_schema(PersonDict)]
ASK = "Anna is 32 years old. Who is it?"


@pytest.fixture
def starter(settings: Settings, starter_path: Path) -> ChatGGUF:
    return ChatGGUF(model="starter", settings=settings, temperature=0, max_tokens=120)


@pytest.fixture
def noise(settings: Settings, tiny_chatml: Path) -> ChatGGUF:
    """A model of random weights: nothing but the grammar makes sense of it."""
    return ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=1.5, min_p=0, max_tokens=200)


# ---- binding ----


def test_a_grammar_that_cannot_be_used_is_refused_when_it_is_bound() -> None:
    bad = look_up.model_copy(update={"metadata": {"grammars": {"query": {"lark": "start: /.*/"}}}})
    with pytest.raises(GrammarError, match="look_up's argument 'query'"):
        ChatGGUF().bind_tools([bad])


def test_the_profile_says_that_tools_and_structure_work(settings: Settings, starter_path: Path) -> None:
    profile = ChatGGUF(model="starter", settings=settings).profile
    assert profile
    assert profile["tool_calling"] is profile["structured_output"] is True


# ---- calling ----


def whole(chunks: list[Any]) -> AIMessageChunk:
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total


@pytest.mark.real
@pytest.mark.parametrize("seed", range(6))
def test_even_noise_makes_well_formed_calls(noise: ChatGGUF, seed: int) -> None:
    bound = noise.bind_tools([add, spell], tool_choice="any", seed=seed)
    answer = bound.invoke("Hi")
    assert len(answer.tool_calls) == 1
    assert not answer.invalid_tool_calls
    call = answer.tool_calls[0]
    expected = {"add": {"a": int, "b": int}, "spell": {"word": str}}[call["name"]]
    assert {name: type(value) for name, value in call["args"].items()} == expected
    assert answer.response_metadata["forced_tokens"] > 0


@pytest.mark.real
def test_one_layer_of_phi_3_speaks_react_text_through_its_own_template(settings: Settings, tiny_phi3: Path) -> None:
    model = ChatGGUF(model=str(tiny_phi3), settings=settings, temperature=1, max_tokens=200, seed=1)
    answer = model.bind_tools([add], tool_choice="add").invoke("Hi")
    assert set(answer.tool_calls[0]["args"]) == {"a", "b"}
    messages = [HumanMessage("Hi"), answer, ToolMessage("3", tool_call_id=answer.tool_calls[0]["id"])]
    assert model.bind_tools([add], tool_choice="none").invoke(messages).text


@pytest.mark.real
async def test_a_call_is_streamed_name_first_and_adds_up_to_the_whole(starter: ChatGGUF) -> None:
    bound = starter.bind_tools([add, look_up], tool_choice="add")
    question = "What is 12 + 30?"
    asked = bound.invoke(question)
    assert asked.tool_calls[0]["args"] == {"a": 12, "b": 30}
    chunks = list(bound.stream(question))
    pieces = [piece for chunk in chunks for piece in chunk.tool_call_chunks]
    assert (pieces[0]["name"], pieces[0]["args"]) == ("add", "")
    assert all(piece["name"] is None and piece["id"] is None and piece["args"] for piece in pieces[1:])
    assert len({piece["index"] for piece in pieces}) == 1
    assert json.loads("".join(piece["args"] for piece in pieces)) == {"a": 12, "b": 30}
    added = whole(chunks)
    assert added.tool_calls[0]["args"] == {"a": 12, "b": 30}
    assert added.tool_calls[0]["id"] != asked.tool_calls[0]["id"]
    assert added.additional_kwargs == asked.additional_kwargs
    later = whole([chunk async for chunk in bound.astream(question)])
    assert later.tool_calls[0]["args"] == {"a": 12, "b": 30}
    assert [block["type"] for block in asked.content_blocks] == ["reasoning", "tool_call"]


@pytest.mark.real
def test_none_leaves_only_an_answer_and_the_tools_stay_in_the_prompt(starter: ChatGGUF) -> None:
    asked = starter.bind_tools([add]).invoke("What is 12 + 30?")
    answer = starter.bind_tools([add], tool_choice="none").invoke("What is 12 + 30?")
    assert not answer.tool_calls
    assert answer.text
    assert not answer.text.startswith("Final Answer")
    assert answer.response_metadata["cached_tokens"] >= asked.usage_metadata["input_tokens"] - 1


@pytest.mark.real
def test_an_agents_next_step_reads_only_what_is_new(starter: ChatGGUF) -> None:
    bound = starter.bind_tools([add, look_up], tool_choice="any")
    messages: list[BaseMessage] = [HumanMessage("What is 12 + 30?")]
    known = 0
    for step in range(4):
        answer = bound.invoke(messages)
        usage = answer.usage_metadata
        new = usage["input_tokens"] - known
        if step:
            assert answer.response_metadata["evaluated_tokens"] <= new + 8
        assert usage["input_tokens"] == starter.get_num_tokens_from_messages(messages, [add, look_up])
        known = usage["input_tokens"] + usage["output_tokens"]
        messages += [answer, ToolMessage("42", tool_call_id=answer.tool_calls[0]["id"])]


@pytest.mark.real
def test_a_stopped_call_is_an_invalid_one(starter: ChatGGUF) -> None:
    signal, chunks = StopSignal(), []
    bound = starter.bind_tools([look_up], tool_choice="look_up")
    for chunk in bound.stream("Search for a long poem about the sea and the wind.", stop_signal=signal):
        chunks.append(chunk)
        if chunk.tool_call_chunks and len(chunk.tool_call_chunks[0]["args"] or "") > 1:
            signal.set()
    message = whole(chunks)
    if message.response_metadata["finish_reason"] == "cancelled":
        assert message.tool_calls == []
        assert len(message.invalid_tool_calls) == 1
    cut = bound.invoke("Search for a long poem.", stop=["query"])
    assert (cut.tool_calls, len(cut.invalid_tool_calls)) == ([], 1)
    assert "stop string" in cut.invalid_tool_calls[0]["error"]


@pytest.mark.real
async def test_a_call_that_max_tokens_shortened_is_an_invalid_one_streamed_too(noise: ChatGGUF) -> None:
    bound = noise.bind_tools([look_up], tool_choice="look_up", seed=1)
    asked, later = bound.invoke("Hi"), await bound.ainvoke("Hi")
    [several] = noise.generate([[HumanMessage("Hi")]], n=2, **bound.kwargs).generations
    for message in (asked, later, *(generation.message for generation in several)):
        assert message.response_metadata["finish_reason"] == "length"
        assert (message.tool_calls, len(message.invalid_tool_calls)) == ([], 1)
        assert "max_tokens" in message.invalid_tool_calls[0]["error"]
    streamed = whole(list(bound.stream("Hi")))
    assert (streamed.tool_calls, len(streamed.invalid_tool_calls)) == ([], 1)


class Note(BaseModel):
    """Something without bounds."""

    text: str


@pytest.mark.real
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
async def test_an_answer_that_max_tokens_shortened_is_an_error(noise: ChatGGUF, method: Any) -> None:
    for schema in (Note, Note.model_json_schema()):
        chain = noise.with_structured_output(schema, method=method, seed=1)
        with pytest.raises(EngineError, match=r"shortened.*200 tokens.*Raise max_tokens"):
            chain.invoke("Hi")
        with pytest.raises(EngineError, match="Raise max_tokens"):
            await chain.ainvoke("Hi")
        with pytest.raises(EngineError, match="Raise max_tokens"):
            list(chain.stream("Hi"))
        with pytest.raises(EngineError, match="Raise max_tokens"):
            [part async for part in chain.astream("Hi")]
        found = noise.with_structured_output(schema, method=method, include_raw=True, seed=1).invoke("Hi")
        assert (found["parsed"], type(found["parsing_error"])) == (None, EngineError)


@pytest.mark.real
def test_a_tool_argument_follows_its_own_grammar(noise: ChatGGUF) -> None:
    hexadecimal = look_up.model_copy(update={"extras": {"grammars": {"query": {"lark": "start: /[0-9a-f]{4,8}/"}}}})
    for seed in range(4):
        answer = noise.bind_tools([hexadecimal], tool_choice="look_up", seed=seed).invoke("Hi")
        query = answer.tool_calls[0]["args"]["query"]
        assert 4 <= len(query) <= 8
        assert set(query) <= set("0123456789abcdef")


@pytest.mark.real
def test_tools_and_a_grammar_of_ones_own_are_too_much(starter: ChatGGUF) -> None:
    with pytest.raises(RequestError, match="a grammar, and tools"):
        starter.bind_tools([add]).invoke("Hi", grammar=Grammar.regex("a"))


# ---- structured output ----


def fields(found: Any) -> dict[str, Any]:
    return {name: found[name] for name in ("name", "age")} if isinstance(found, dict) else dict(found)


@pytest.mark.real
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("schema", SCHEMAS, ids=["pydantic", "v1", "typeddict", "json", "converted"])
async def test_every_kind_of_schema_gives_its_kind_of_answer(starter: ChatGGUF, schema: Any, method: Any) -> None:
    chain = starter.with_structured_output(schema, method=method)
    streamed = list(chain.stream(ASK))
    for found in (chain.invoke(ASK), await chain.ainvoke(ASK), streamed[-1]):
        if schema in (Person, OldPerson):
            assert isinstance(found, schema)
        else:
            assert isinstance(found, dict)
            assert set(found) == {"name", "age"}
        assert isinstance(fields(found)["name"], str)
        assert isinstance(fields(found)["age"], int)
    if isinstance(streamed[-1], dict):
        assert len(streamed) > 2  # it grows


class Node(BaseModel):
    """A list of numbers."""

    value: int
    rest: "Node | None" = None


class Odd(BaseModel):
    """What llguidance cannot enforce is left to pydantic."""

    folder: Path = Field(json_schema_extra={"maxLength": 12})
    numbers: set[int] = Field(max_length=3)
    day: datetime.date


@pytest.mark.real
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("schema", [Node, Odd])
def test_recursive_and_odd_schemas_work_too(noise: ChatGGUF, schema: Any, method: Any) -> None:
    chain = noise.with_structured_output(schema, method=method, include_raw=True, seed=3)
    found = chain.invoke("Hi")
    assert isinstance(found["parsed"], schema), found


@pytest.mark.real
def test_the_model_is_told_the_form_and_answers_in_it(starter: ChatGGUF) -> None:
    assert starter.with_structured_output(Person).invoke(ASK) == Person(name="Anna", age=32)


@pytest.mark.real
@pytest.mark.parametrize("seed", range(4))
def test_even_noise_answers_in_the_form(noise: ChatGGUF, seed: int) -> None:
    found = noise.with_structured_output(Person, seed=seed).invoke("Hi")
    assert isinstance(found, Person)


class Adult(Person):
    """Somebody of age."""

    @field_validator("age")
    @classmethod
    def _of_age(cls, age: int) -> int:
        if age < 1000:
            raise ValueError("too young")
        return age


@pytest.mark.real
def test_a_validator_that_refuses_is_reported_as_langchain_does(starter: ChatGGUF) -> None:
    with pytest.raises(OutputParserException, match="too young"):
        starter.with_structured_output(Adult).invoke(ASK)
    with pytest.raises(ValidationError, match="too young"):
        starter.with_structured_output(Adult, method="function_calling").invoke(ASK)
    for method in ("json_schema", "function_calling"):
        raw = starter.with_structured_output(Adult, method=method, include_raw=True).invoke(ASK)
        assert raw["parsed"] is None
        assert "too young" in str(raw["parsing_error"])
        assert isinstance(raw["raw"], AIMessage)


@pytest.mark.real
def test_raw_and_parsed_come_together(starter: ChatGGUF) -> None:
    found = starter.with_structured_output(Person, include_raw=True, strict=True).invoke(ASK)
    assert found["parsing_error"] is None
    assert json.loads(found["raw"].text) == found["parsed"].model_dump()


@pytest.mark.real
def test_json_mode_without_a_schema_is_some_object(noise: ChatGGUF) -> None:
    chain = noise.with_structured_output(None, method="json_mode", include_raw=True, seed=1)
    found = chain.invoke("Hi")  # noise does not come to an end by itself
    assert isinstance(json.loads(found["raw"].text), dict)
    assert (found["parsed"], "max_tokens" in str(found["parsing_error"])) == (None, True)


def test_what_cannot_be_asked_for_is_refused() -> None:
    with pytest.raises(RequestError, match="needs a schema"):
        ChatGGUF().with_structured_output(None)
    with pytest.raises(RequestError, match="method is 'xml'"):
        ChatGGUF().with_structured_output(Person, method="xml")  # type: ignore[arg-type]


@pytest.mark.real
def test_an_answer_in_json_and_tools_go_together(starter: ChatGGUF) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "Person", "schema": Person.model_json_schema()}}
    answer = starter.bind_tools([look_up], tool_choice="none", response_format=form).invoke(ASK)
    assert isinstance(Person.model_validate_json(answer.text), Person)
    forms: list[Any] = [
        {"type": "grammar"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {}},
        "json_schema",
    ]
    for form in forms:
        with pytest.raises(RequestError, match=r"response_format is.*with_structured_output"):
            starter.invoke("Hi", response_format=form)


@pytest.mark.real
def test_a_choice_without_tools_is_refused(noise: ChatGGUF) -> None:
    for choice in ("any", "add"):
        with pytest.raises(RequestError, match="the tools are none"):
            noise.invoke("Hi", tool_choice=choice)
    assert noise.invoke("Hi", tool_choice="none", max_tokens=2).text
