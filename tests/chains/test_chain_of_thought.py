"""The chain thinks aloud, few-shot or zero-shot, and its answer is a value of the form."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from answers import answers
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from pydantic import BaseModel
from scripted import Scripted
from thinking import thinker

from phireside.chains.chain_of_thought import chain_of_thought
from phireside.chains.forms import Form, choice, integer, json_form, lark, number, regex, yes_or_no
from phireside.chains.paths import Reasoned, Thinker, said, short_text
from phireside.chains.prompt import Examples
from phireside.chains.prompt_files import load_prompts
from phireside.errors import EngineError, GrammarError, RequestError, SettingsError
from phireside.models import ChatGGUF, Grammar

APPLES = "The cafeteria had 23 apples. If they used 20 and bought 6 more, how many do they have?"


def test_few_shot_shows_the_tennis_balls_and_asks_for_the_answer_behind_the_reasoning() -> None:
    model = thinker("They had 3. 3 + 6 = 9")
    result = chain_of_thought(model=model, form=number()).invoke(APPLES)
    assert result.answer == Decimal(9)
    assert result.paths[0].text == "They had 3. 3 + 6 = 9"
    assert (result.paths[0].state, result.agreement) == ("answered", 1.0)
    thinking, asked = model.asked
    assert [kind for kind, _ in thinking] == ["human", "ai", "human"]
    assert "tennis balls" in thinking[0][1]
    assert "5 + 6 = 11. The answer is 11." in thinking[1][1]
    assert thinking[2] == ("human", APPLES)
    assert asked[: len(thinking) + 1] == [*thinking, ("ai", "They had 3. 3 + 6 = 9")]  # nothing is read twice


@pytest.mark.parametrize("examples", [None, [], Examples()])
def test_zero_shot_says_lets_think_step_by_step(examples: Any) -> None:
    model = thinker("so 9")
    chain_of_thought(model=model, examples=examples, form=number()).invoke(APPLES)
    assert model.asked[0] == [("human", f"{APPLES} Let's think step-by-step.")]


@pytest.mark.parametrize("examples", ["none", "", "Book"])
def test_a_text_that_names_no_examples_is_refused(examples: Any) -> None:
    with pytest.raises(RequestError, match="examples are") as caught:
        chain_of_thought(model=thinker("so 9"), examples=examples)
    assert "None" in caught.value.hint


class Strict(Scripted):
    """Takes no arguments at all, as some models refuse those that they do not know."""

    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None) -> AsyncIterator[Any]:  # type: ignore[override]
        async for chunk in super()._astream(messages):
            yield chunk


def test_a_model_keeps_its_own_limits_where_it_has_no_such_settings() -> None:
    model = Strict(words=["so", " it", " is"], asked=[])
    assert chain_of_thought(model=model, temperature=0.2).invoke(APPLES).answer == "so it is"
    known = thinker("so 9")
    chain_of_thought(model=known, form=number(), max_tokens=7, temperature=0.2).invoke(APPLES)
    assert known.arguments[0] == {"max_tokens": 7, "temperature": 0.2}


def test_ones_own_examples_take_the_place_of_the_books() -> None:
    model = thinker("so 9")
    chain_of_thought(model=model, examples=[("1 + 1?", "One and one. The answer is 2.")]).invoke(APPLES)
    assert model.asked[0] == [("human", "1 + 1?"), ("ai", "One and one. The answer is 2."), ("human", APPLES)]


def test_the_path_is_streamed_as_it_grows_and_costs_are_added() -> None:
    model = thinker("one two three 3")
    results = list(chain_of_thought(model=model, form=number()).stream(APPLES))
    assert [result.paths[0].text for result in results[:4]] == ["one", "one two", "one two three", "one two three 3"]
    assert [result.answer for result in results[:-1]] == [None] * (len(results) - 1)
    assert (results[-1].cost.calls, results[-1].cost.generated_tokens) == (2, 5)


async def test_async_and_batch_give_the_same() -> None:
    chain = chain_of_thought(model=thinker("so 9"), form=number())
    assert (await chain.ainvoke(APPLES)).answer == 9
    assert [result.answer for result in chain.batch([APPLES, {"question": APPLES}])] == [9, 9]


def test_braces_in_the_question_are_data() -> None:
    model = thinker("so 9")
    chain_of_thought(model=model, examples=None).invoke("What is {x} + {{y}}?")
    assert model.asked[0][0][1].startswith("What is {x} + {{y}}?")


@pytest.mark.parametrize("value", ["", "  \n", {}, {"question": "a", "text": "b"}, {"question": ""}])
def test_a_question_that_cannot_be_asked_is_refused(value: Any) -> None:
    with pytest.raises(RequestError):
        chain_of_thought(model=thinker("so 9")).invoke(value)


@pytest.mark.parametrize("max_tokens", [0, -1, 1.5, True])
def test_a_limit_that_is_no_count_is_refused(max_tokens: Any) -> None:
    with pytest.raises(RequestError, match="max_tokens"):
        chain_of_thought(model=thinker("so 9"), max_tokens=max_tokens)


def test_what_is_no_model_is_refused_at_once() -> None:
    with pytest.raises(RequestError, match="no chat model"):
        chain_of_thought(model="starter")  # type: ignore[arg-type]


def test_prompts_can_be_overridden_with_the_same_variables_only() -> None:
    model = thinker("so 9")
    chain_of_thought(model=model, examples=None, prompts={"zero_shot": "Denk nach: {question}"}).invoke(APPLES)
    assert model.asked[0] == [("human", f"Denk nach: {APPLES}")]
    with pytest.raises(SettingsError, match="zero_shot"):
        chain_of_thought(model=model, prompts={"zero_shot": "{text}"})


def test_an_answer_that_was_shortened_is_no_answer() -> None:
    with pytest.raises(EngineError, match="shortened"):
        chain_of_thought(model=thinker("so 9", finish_reason="length"), form=number()).invoke(APPLES)


def test_an_answer_that_is_not_of_the_form_is_an_error_with_the_numbers() -> None:
    model = answers(lambda messages: "no idea")
    with pytest.raises(EngineError, match="None of 3 answers was a number"):
        chain_of_thought(model=model, form=number()).invoke(APPLES)


def test_it_has_schemas() -> None:
    chain = chain_of_thought(model=thinker("so 9"))
    assert chain.OutputType is Reasoned
    assert "question" in chain.get_input_schema().model_json_schema()["properties"]


# ---- an answer at the end of a sentence ------------------------------------------------------------------------------

SENTENCE = "The answer is "


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        (number(), "The answer is 11.", Decimal(11)),
        (number(), "The answer is 1,100.50", Decimal("1100.5")),
        (number(), "11", Decimal(11)),
        (integer(), "The answer is 11.", 11),
        (yes_or_no(), "The answer is yes", True),
        (choice(["a.", "b"]), "The answer is a.", "a."),
        (short_text(), "The answer is Paris.", "Paris"),
        (regex(r"[a-z]+/[.]"), "The answer is ab/.", "ab/."),
        (json_form({"type": "array", "items": {"type": "integer"}}), "The answer is [1, 2]", [1, 2]),
    ],
)
def test_a_form_in_a_sentence_takes_the_sentence_and_the_bare_answer(form: Form[Any], text: str, value: Any) -> None:
    assert said(form, SENTENCE).parse(text) == value


def accepts(grammar: Grammar, text: str) -> bool:
    """Whether the grammar takes the text, byte by byte."""
    from llguidance import LLTokenizer

    matcher = grammar.compile(LLTokenizer("byte"))
    return bool(matcher.consume_tokens(list(text.encode())) and matcher.is_accepting())


@pytest.mark.parametrize("opening", ["The answer is ", "Speed (km/h): ", "So\nAnswer: ", "\\ 1.\t{x} [a-z]* / "])
@pytest.mark.parametrize(
    ("form", "answer", "value", "other"),
    [
        (number(), "11", 11, "eleven"),
        (number(), "-1,100.5.", Decimal("-1100.5"), "1.."),
        (integer(), "12.", 12, "1.5"),
        (yes_or_no(), "Yes", True, "maybe"),
        (lark("start: /yes/ | /no/"), "no", "no", "/ | /"),
        (regex("[a-z]{2}/é|x\n"), "ab/é", "ab/é", "ab"),
        (regex("[a-z]{2}/é|x\n"), "x\n.", "x\n", "x"),
        (short_text(), "Paris.", "Paris", " ."),
        (json_form({"type": "array", "items": {"type": "integer"}}), "[1, 2]", [1, 2], "[1"),
    ],
)
def test_grammars_in_a_sentence_take_any_opening_and_then_the_answer(
    form: Form[Any], answer: str, value: Any, other: str, opening: str
) -> None:
    sentence = said(form, opening)
    assert accepts(sentence.grammar, opening + answer)
    assert not accepts(sentence.grammar, opening + other)
    assert not accepts(sentence.grammar, answer)
    assert sentence.parse(opening + answer) == value


@given(st.decimals(-(10**9), 10**9, places=2), st.booleans())
def test_every_number_comes_back_from_its_sentence(value: Decimal, stop: bool) -> None:
    assert said(number(), SENTENCE).parse(f"{SENTENCE}{value:f}{'.' * stop}") == value


@pytest.mark.parametrize("text", ["", "The answer is ", "The answer is .", "The answer is many."])
def test_what_is_no_number_is_none_in_a_sentence_either(text: str) -> None:
    with pytest.raises(ValueError):
        said(number(), SENTENCE).parse(text)


class Basket(BaseModel):
    apples: int


@pytest.mark.real
@pytest.mark.parametrize(
    "form",
    [
        number(),
        integer(),
        yes_or_no(),
        choice(["few", "many"]),
        json_form(Basket),
        regex("[0-9]{1,3}/[0-9]{1,3}"),
        None,
    ],
)
def test_every_form_is_right_on_real_weights(form: Form[Any] | None, starter_path: Any) -> None:
    model = ChatGGUF(model=str(starter_path), n_ctx=2048, seed=1)
    result = chain_of_thought(model=model, form=form, max_tokens=12).invoke(APPLES)
    assert result.answer is not None
    assert result.paths[0].cut
    assert result.cost.calls == 2
    assert result.cost.cached_tokens >= result.cost.prompt_tokens / 3  # the second request begins with the first


@pytest.mark.real
async def test_a_full_stop_does_not_become_a_decimal_point(starter_path: Any) -> None:
    """Held to a bare number, the starter writes 216.55 behind "The answer is 216."; in its sentence it does not."""
    closing = load_prompts("chain_of_thought").prompts["answer"]
    thinker = Thinker(ChatGGUF(model=str(starter_path), n_ctx=2048), number(), closing, {})
    asked = [HumanMessage("Paco had 26 bags of 9 cookies. How many?")]
    assert (await thinker.answer(asked, "26 * 9 = 216. The answer is 216.")).value == 216


@pytest.mark.real
def test_a_question_longer_than_the_context_is_an_error_with_the_numbers(starter_path: Any) -> None:
    model = ChatGGUF(model=str(starter_path), n_ctx=512)
    with pytest.raises(EngineError, match="512"):
        chain_of_thought(model=model).invoke("apples " * 5120)


@pytest.mark.real
def test_a_form_that_nothing_satisfies_is_a_grammar_error(starter_path: Any) -> None:
    model = ChatGGUF(model=str(starter_path), n_ctx=2048)
    with pytest.raises(GrammarError):
        chain_of_thought(model=model, form=regex("[0-9]{600}"), max_tokens=4).invoke(APPLES)
