"""Forms: what their grammars allow is what they parse, and any model is brought to answer in them."""

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from answers import answers
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from phireside.chains.forms import (
    Form,
    ask,
    choice,
    integer,
    json_form,
    lark,
    number,
    regex,
    yes_or_no,
)
from phireside.errors import EngineError, GrammarError, NotSupportedError, RequestError
from phireside.models import ChatGGUF
from phireside.settings import Settings

ASKED = [HumanMessage("How many?")]


class City(BaseModel):
    name: str = Field(max_length=8)
    people: int = Field(ge=0)


class Typed(TypedDict):
    name: str


@dataclass
class Plain:
    sizes: list[int]


class Structured(FakeListChatModel):
    """Has `with_structured_output`; its answers are tool calls with these arguments."""

    values: list[Any]
    temperature: float = 1.0
    responses: list[str] = []  # noqa: RUF012 (pydantic copies it)
    seen: list[Any] = []  # noqa: RUF012

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        self.seen.append((tools, self.temperature))
        return self

    def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
        self.seen.append(messages)
        value = self.values.pop(0)
        call = {"name": "Answer", "args": value, "id": "1"} if value is not None else None
        message = AIMessage("", tool_calls=[call] if call else [])
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate(messages)


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        (number(), "-1,234.50", Decimal("-1234.50")),
        (number(), "0.1", Decimal("0.1")),
        (number(), "3.3333333333", Decimal("3.3333333333")),
        (number(), "1,000,000,000,000,000,000", Decimal(10**18)),
        (number(), "216.", Decimal(216)),
        (integer(), "216.", 216),
        (integer(), "1" * 30, int("1" * 30)),
        (integer(), "1,000", 1000),
        (integer(), "-7", -7),
        (choice(["red", "dark red"]), "dark red", "dark red"),
        (yes_or_no(), "Yes", True),
        (yes_or_no(), "no", False),
        (json_form(City), '{"name": "Ulm", "people": 3}', City(name="Ulm", people=3)),
        (json_form(Typed), '{"name": "Ulm"}', {"name": "Ulm"}),
        (json_form(Plain), '{"sizes": [1]}', Plain([1])),
        (json_form(list[int]), "[1, 2]", [1, 2]),
        (json_form({"type": "integer", "maximum": 3}), "3", 3),
        (regex("[a-c]{2}/é"), "ab/é", "ab/é"),
        (lark('start: "x" /[0-9]+/'), "x12", "x12"),
    ],
)
def test_a_text_of_the_form_becomes_its_value(form: Form[Any], text: str, value: Any) -> None:
    assert form.parse(text) == value
    assert isinstance(json.dumps(form.schema), str)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (number(), "1e5"),
        (number(), "12,34"),
        (number(), "seven"),
        (integer(), "1.5"),
        (number(), "1.5.."),
        (number(), "."),
        (integer(), ""),
        (choice(["red", "RED"]), "Red"),
        (yes_or_no(), "maybe"),
        (json_form(City), '{"name": "Ulm", "people": -1}'),
        (json_form(City), '{"name": "Ulm"'),
        (json_form({"type": "integer", "maximum": 3}), "4"),
        (json_form(Typed), "{}"),
        (regex("[a-c]{2}"), "ab "),
        (regex("a|b"), "ab"),
        (lark('start: "x" /[0-9]+/'), "x"),
    ],
)
def test_any_other_text_is_refused(form: Form[Any], text: str) -> None:
    with pytest.raises(ValueError):
        form.parse(text)


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.booleans())
def test_every_whole_number_is_read_as_it_was_written(value: int, commas: bool) -> None:
    text = f"{value:,}" if commas else str(value)
    assert integer().parse(text) == value
    assert number().parse(text) == value
    assert integer().write(value) == str(value)


@given(st.floats(-1e14, 1e14, allow_nan=False, allow_infinity=False))
def test_floats_of_models_without_grammars_are_written_without_exponents(value: float) -> None:
    assert "e" not in number().write(value).lower()
    assert float(number().parse(number().write(value))) == value


@limits(max_examples=30)
@given(st.lists(st.text(min_size=1, max_size=8).filter(str.strip), min_size=1, max_size=5), st.text(max_size=8))
def test_options_are_data(options: list[str], other: str) -> None:
    form = choice(options)
    assert form.parse(options[-1]) == options[-1]
    if other not in options:
        with pytest.raises(ValueError):
            form.parse(other)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
        ({"enum": []}, "empty"),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]}, "'b'"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ],
)
def test_a_schema_that_cannot_be_satisfied_says_why_and_what_to_do(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(GrammarError, match=reason) as caught:
        json_form(schema)
    assert "Change what is named" in caught.value.hint


@pytest.mark.parametrize("schema", [3, "City", {"type": "nonsense"}, object()])
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises((RequestError, GrammarError)) as caught:
        json_form(schema)
    assert caught.value.hint


@pytest.mark.parametrize("options", [[], "red", ["red", " "], [1]])
def test_bad_options_are_refused(options: Any) -> None:
    with pytest.raises(RequestError, match="options"):
        choice(options)


def test_patterns_that_do_not_compile_are_refused_before_any_model_is_asked() -> None:
    for make in (lambda: regex("(a"), lambda: regex("(?=a)b"), lambda: lark("start: nothing")):
        with pytest.raises(GrammarError, match="does not compile"):
            make()


# ---- asking -----------------------------------------------------------------------------------------------------


async def test_a_model_without_structured_output_is_asked_in_words() -> None:
    model = answers(" 42 ")
    decoded = await ask(model, ASKED, integer(), temperature=0.5)
    assert (decoded.value, decoded.text, decoded.cost.calls) == (42, "42", 1)
    assert "a whole number" in model.asked[0][-1][1]
    assert model.arguments[0]["temperature"] == 0.5


async def test_a_wrong_answer_is_shown_to_the_model_with_the_reason() -> None:
    said = iter(["many", "{1}", "7"])
    model = answers(lambda messages: next(said))
    decoded = await ask(model, ASKED, integer())
    assert decoded.value == 7
    assert decoded.cost.calls == 3
    assert [kind for kind, _ in model.asked[2]] == ["human", "ai", "human", "human"]
    assert "'{1}' is no number" in model.asked[2][2][1]


async def test_three_wrong_answers_are_an_error_that_counts_them() -> None:
    model = answers("many")
    with pytest.raises(EngineError, match=r"None of 3 answers was a whole number; the last: 'many' is no number\."):
        await ask(model, ASKED, integer())
    assert len(model.asked) == 3


async def test_structured_output_is_used_where_a_model_has_it() -> None:
    model = Structured(values=[{"answer": {"name": "Ulm", "people": 2}}])
    decoded = await ask(model.bind(temperature=0.2), ASKED, json_form(City))
    assert decoded.value == City(name="Ulm", people=2)
    tools, temperature = model.seen[-2]
    assert temperature == 0.2
    assert tools[0]["properties"]["answer"]["properties"]["people"] == {
        "minimum": 0,
        "title": "People",
        "type": "integer",
    }


async def test_structured_output_is_checked_and_asked_for_again() -> None:
    model = Structured(values=[None, {"other": 1}, {"answer": "yes"}])
    decoded = await ask(model, ASKED, yes_or_no())
    assert decoded.value is True
    assert decoded.cost.calls == 3


async def test_references_in_a_wrapped_schema_still_lead_to_their_definitions() -> None:
    class Country(BaseModel):
        cities: list[City]

    model = Structured(values=[{"answer": {"cities": [{"name": "Ulm", "people": 2}]}}])
    assert (await ask(model, ASKED, json_form(Country))).value.cities[0].name == "Ulm"
    assert "City" in model.seen[0][0][0]["$defs"]


async def test_an_argument_that_a_model_does_not_have_is_named() -> None:
    with pytest.raises(NotSupportedError, match="Structured has no min_p"):
        await ask(Structured(values=[]), ASKED, integer(), min_p=0.1)


async def test_a_shortened_answer_is_an_error_even_if_it_could_be_read() -> None:
    with pytest.raises(EngineError, match="shortened"):
        await ask(answers("42", finish_reason="length"), ASKED, integer())


class Even(BaseModel):
    number: Literal[1, 3]

    @field_validator("number")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value


@pytest.fixture
def starter(settings: Settings, starter_path: Path) -> ChatGGUF:
    return ChatGGUF(model="starter", settings=settings)


@pytest.mark.real
async def test_every_form_is_decoded_as_it_is_at_the_highest_temperature(starter: ChatGGUF) -> None:
    forms: list[Form[Any]] = [
        number(), integer(), choice(["red", "dark red"]), yes_or_no(), json_form(City), regex("[a-z]{3}-[0-9]{2}"),
        lark('start: "x" /[0-9]{1,3}/ "y"'),
    ]  # fmt: skip
    for form in forms:
        decoded = await ask(starter, ASKED, form, temperature=2.0, top_p=1.0, top_k=0, min_p=0.0, max_tokens=120)
        assert form.parse(decoded.text) == decoded.value
        assert decoded.cost.calls == 1


@pytest.mark.real
async def test_what_a_validator_refuses_is_asked_again_and_what_is_too_long_is_an_error(starter: ChatGGUF) -> None:
    with pytest.raises(EngineError, match=r"None of 3 answers was JSON of the schema; the last: .*must be even"):
        await ask(starter, ASKED, json_form(Even), temperature=1.0)
    words = json_form({"type": "array", "items": {"const": "word"}, "minItems": 30})
    with pytest.raises(EngineError, match=r"tokens, but only 20 are left"):
        await ask(starter, ASKED, words, max_tokens=20)


@pytest.mark.real
@pytest.mark.parametrize(("form", "value"), [(number(), Decimal(216)), (integer(), 216)])
async def test_a_full_stop_behind_a_number_does_not_become_a_decimal_point(
    starter: ChatGGUF, form: Form[Any], value: Any
) -> None:
    """Without the stop in the grammar, the starter's "216." becomes 216.50."""
    asked = [
        HumanMessage("Paco had 26 bags of 9 cookies. How many?"),
        AIMessage("26 * 9 = 216. The answer is 216."),
        HumanMessage("Therefore, the answer is"),
    ]
    assert (await ask(starter, asked, form, temperature=0, max_tokens=32)).value == value
