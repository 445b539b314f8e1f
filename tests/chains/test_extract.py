"""`extract`: fields of a schema from a text; from a long one piece by piece, merged by stated rules."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from answers import Answers, answers
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from langchain_core.messages import BaseMessage
from pydantic import BaseModel, Field, model_validator

from phireside.chains import extract
from phireside.chains.extract import for_a_part, merge
from phireside.chains.forms import json_form
from phireside.errors import EngineError, GrammarError, RequestError
from phireside.models import ChatGGUF
from phireside.settings import Settings

LONG = "\n\n".join(f"Part {number}. " + "The ice was measured. " * 10 for number in range(40))


class Researcher(BaseModel):
    name: str = Field(max_length=40, description="full name")
    position: str = Field(max_length=60)
    keywords: list[str] = Field(max_length=5)


class Home(BaseModel):
    city: str = Field(max_length=8)
    rooms: list[int] = Field(min_length=1, max_length=3)


class Person(BaseModel):
    name: str = Field(max_length=12)
    age: int | None = None
    home: Home | None = None


def reader(rule: Any) -> Answers:
    return answers(rule, profile={"max_input_tokens": 800}, pause=0)


def test_a_short_text_is_one_call_and_gives_an_object() -> None:
    model = answers('{"name": "Ada", "position": "professor", "keywords": ["ice", "sea"]}')
    found = extract(Researcher, model=model).invoke("Ada {is} a professor.")
    assert found.value == Researcher(name="Ada", position="professor", keywords=["ice", "sea"])
    assert (found.parts, found.cost.calls) == ((), 1)
    prompt = model.asked[0][0][1] + model.asked[0][1][1]
    assert '"name": string (full name)' in prompt
    assert "Ada {is} a professor." in prompt


def test_pieces_of_a_long_text_are_merged_field_by_field() -> None:
    said = iter(
        [
            {"name": None, "position": "Professor", "keywords": ["ice"]},
            {"name": "Ada", "position": "dean", "keywords": ["sea", "ICE "]},
            {"name": "Ada", "position": "professor", "keywords": None},
        ]
    )
    model = reader(lambda messages: json.dumps(next(said, {"name": None, "position": None, "keywords": []})))
    *growing, found = extract(Researcher, model=model, max_tokens=60).stream(LONG)
    assert found.value == Researcher(name="Ada", position="Professor", keywords=["ice", "sea"])
    assert [len(each.parts) for each in growing] == list(range(1, len(found.parts) + 1))
    assert all(each.value is None for each in growing)
    assert found.cost.calls == len(found.parts) == len(model.asked) > 3


def test_where_the_pieces_do_not_make_a_whole_the_model_fills_it_in_once_more() -> None:
    whole = '{"name": "Ada", "position": "dean", "keywords": []}'

    def rule(messages: list[BaseMessage]) -> str:
        merging = "filled in from the parts" in messages[-1 if len(messages) < 3 else 1].text
        return whole if merging else '{"name": null, "position": "dean", "keywords": []}'

    found = extract(Researcher, model=reader(rule), max_tokens=60).invoke(LONG[:9000])
    assert found.value == Researcher(name="Ada", position="dean", keywords=[])
    assert found.cost.calls == len(found.parts) + 1


def test_forms_too_long_to_be_merged_again_are_an_error_that_says_what_to_do() -> None:
    long = json.dumps({"name": None, "position": "x" * 60, "keywords": [letter * 300 for letter in "abcde"]})
    with pytest.raises(EngineError, match=r"pieces cannot be merged.*Loosen the schema"):
        extract(Researcher, model=reader(long), max_tokens=60).invoke(LONG)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "object", "properties": {"a": {"type": "integer", "minimum": 2, "maximum": 1}}, "required": ["a"]},
         "unsatisfiable"),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "uniqueItems"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_satisfied_says_so_before_any_call(schema: Any, reason: str) -> None:
    with pytest.raises(GrammarError, match=reason) as caught:
        extract(schema, model=answers("{}"))
    assert "Change what is named" in caught.value.hint


class Never(BaseModel):
    name: str

    @model_validator(mode="after")
    def _refuse(self) -> "Never":
        raise ValueError("no name is good enough")


def test_a_class_whose_validators_refuse_everything_is_an_error_with_the_reason() -> None:
    with pytest.raises(EngineError, match=r"None of 3 answers.*no name is good enough"):
        extract(Never, model=answers('{"name": "Ada"}')).invoke("Ada")


def test_no_schema_and_no_text_are_refused() -> None:
    with pytest.raises(RequestError, match="schema"):
        extract(3, model=answers("{}"))
    with pytest.raises(RequestError, match="empty text"):
        extract(Researcher, model=answers("{}")).invoke(" ")


# ---- merging ----------------------------------------------------------------------------------------------------


def test_every_field_may_be_null_in_a_piece_and_lists_may_be_empty() -> None:
    for schema in (Person, Researcher, list[Home], Home):
        form = json_form(for_a_part(json_form(schema).schema))
        empty: Any = [] if schema == list[Home] else dict.fromkeys(form.schema["properties"])
        assert form.parse(json.dumps(empty)) == empty


def test_nested_fields_may_be_null_too_and_lists_in_them_shorter() -> None:
    class Town(BaseModel):
        kind: Literal["town"]
        homes: list[Home] = Field(min_length=2, max_length=9)

    form = json_form(for_a_part(json_form(Town).schema))
    for text in ('{"kind": "town", "homes": [{"city": "Ulm", "rooms": null}]}', '{"kind": "town", "homes": null}'):
        form.parse(text)
    for text in ('{"kind": null, "homes": []}', '{"kind": "town"}', '{"kind": "town", "homes": [{"city": "Ulm"}]}'):
        with pytest.raises(ValueError, match=r"'town' was expected|required property|not valid under any"):
            form.parse(text)
    inline = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "integer"}}}}}
    assert json_form(for_a_part(inline)).parse('{"a": {"b": null}}') == {"a": {"b": None}}


def test_objects_of_which_nothing_is_said_are_left_out() -> None:
    schema = json_form(Person).schema
    parts = [
        {"name": "Ada", "age": None, "home": {"city": None, "rooms": []}},
        {"name": "Ada", "age": None, "home": {"city": None, "rooms": None}},
    ]
    assert merge(parts, schema) == {"name": "Ada"}
    homes = [[{"city": None, "rooms": None}, {"city": "Ulm", "rooms": [1]}], [{"city": "", "rooms": []}]]
    assert merge(homes, json_form(list[Home]).schema) == [{"city": "Ulm", "rooms": [1]}]


def test_nested_objects_and_lists_are_merged_and_bounded() -> None:
    schema = json_form(Person).schema
    parts = [
        {"name": "Ada", "age": None, "home": {"city": "Ulm", "rooms": [1, 2]}},
        {"name": "Ada", "age": 41, "home": None},
        {"name": "Eve", "age": 40, "home": {"city": "Ulm", "rooms": [3, 2, 4]}},
    ]
    assert merge(parts, schema) == {"name": "Ada", "age": 41, "home": {"city": "Ulm", "rooms": [2, 1, 3]}}
    assert merge([{"name": "Ada", "age": None, "home": None}], schema) == {"name": "Ada"}


def test_what_is_named_most_often_is_kept_and_blanks_are_not() -> None:
    schema = {"type": "array", "items": {"type": "string"}, "maxItems": 2}
    assert merge([["a", "b"], ["c", ""], ["C", "d"]], schema) == ["c", "a"]
    assert merge([3, 4, 4], {"type": "integer"}) == 4
    assert merge([None, None], {"type": "integer"}) is None


_VALUES = st.fixed_dictionaries(
    {
        "name": st.none() | st.sampled_from(["Ada", "Eve"]),
        "age": st.none() | st.integers(0, 3),
        "home": st.none()
        | st.fixed_dictionaries({"city": st.just("Ulm"), "rooms": st.lists(st.integers(0, 9), min_size=1, max_size=3)}),
    }
)


@limits(deadline=None)
@given(st.lists(_VALUES, min_size=1, max_size=8))
def test_what_was_said_of_every_required_field_always_makes_a_whole(parts: list[dict[str, Any]]) -> None:
    form = json_form(Person)
    merged = merge(parts, form.schema)
    names = {part["name"] for part in parts} - {None}
    if names:
        assert form.parse(json.dumps(merged)).name in names
    assert merge([merged], form.schema) == merged  # merging once more changes nothing


@pytest.mark.real
def test_the_starter_fills_in_a_form_from_texts_short_and_long(settings: Settings, starter_path: Path) -> None:
    model = ChatGGUF(model="starter", settings=settings, temperature=0, n_ctx=384)
    chain = extract(Person, model=model, max_tokens=100)
    assert isinstance(chain.invoke("My name is Ada and I am 41 years old.").value, Person)
    found = chain.invoke("My name is Ada. " + "It was cold, and the wind blew from the sea. " * 40)
    assert isinstance(found.value, Person)
    assert len(found.parts) > 1
