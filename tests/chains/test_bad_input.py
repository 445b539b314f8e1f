"""What cannot be used is refused, with what to do about it, when a chain is made or called: never a traceback."""

from collections.abc import Callable
from typing import Any

import pytest
from answers import answers
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from scoring import scoring

from phireside.chains import (
    Examples,
    Link,
    Prompt,
    ask,
    chain_of_thought,
    classify,
    explain_sampling,
    extract,
    judge_answers,
    map_reduce,
    matching,
    pinned,
    sequential,
    story_chain,
    summarize,
    validated,
)
from phireside.chains.forms import choice, json_form
from phireside.chains.loop import begin
from phireside.errors import NotSupportedError, PhiresideError
from phireside.models import PRESETS

EMBEDDINGS = DeterministicFakeEmbedding(size=4)
MODEL, ENGINE = answers("x"), scoring(lambda prompt, text: 0.0)
PROMPT = Prompt.of(data="{text}")
NAME: Any = "starter"  # where a model belongs


BAD: dict[str, Callable[[], Any]] = {
    "no labels": lambda: classify(None, model=MODEL),  # type: ignore[arg-type]
    "a number as an example": lambda: classify(["a", "b"], model=MODEL, examples=[5]),  # type: ignore[list-item]
    "a number as an example's text": lambda: classify(["a", "b"], model=MODEL, examples=[(5, "a")]),  # type: ignore[list-item]
    "a number as examples": lambda: classify(["a", "b"], model=MODEL, examples=5),  # type: ignore[arg-type]
    "a number as a shown example": lambda: Examples((5,)),  # type: ignore[arg-type]
    "no rules": lambda: validated(MODEL, None),  # type: ignore[arg-type]
    "a text as rules": lambda: validated(MODEL, "polite"),
    "a text as tries": lambda: validated(MODEL, ["a"], tries="x"),  # type: ignore[arg-type]
    "a name to be validated": lambda: validated(NAME, ["a"], model=MODEL),
    "nothing to answer": lambda: validated(MODEL, ["a"]).invoke(None),
    "a number to answer": lambda: validated(MODEL, ["a"]).invoke(5),
    "a list of numbers to answer": lambda: validated(MODEL, ["a"]).invoke([5]),
    "a text as words": lambda: summarize(words="ten", model=MODEL),  # type: ignore[arg-type]
    "a text as form": lambda: chain_of_thought(form="number", model=MODEL),  # type: ignore[arg-type]
    "a list of prompts": lambda: story_chain(prompts=["x"], model=MODEL),  # type: ignore[arg-type]
    "a number as prompts": lambda: story_chain(prompts=5, model=MODEL),  # type: ignore[arg-type]
    "a text as a link": lambda: sequential(["a"], model=MODEL),  # type: ignore[list-item]
    "an unknown preset": lambda: sequential([Link("a", "b", sampling="loud")], model=MODEL),
    "a preset for no link": lambda: story_chain(sampling="creative", model=MODEL),  # type: ignore[arg-type]
    "a number as a pattern": lambda: matching(regex=5, model=MODEL),  # type: ignore[arg-type]
    "no schema": lambda: extract(None, model=MODEL),
    "no tokens for a form": lambda: extract(int, model=MODEL, max_tokens=0),
    "less than none": lambda: matching(regex="a", model=MODEL, max_tokens=-5),
    "an empty variable": lambda: PROMPT.format_messages(text=None),
    "an empty cell": lambda: PROMPT.format_messages(text=float("nan")),
    "nothing to explain": lambda: explain_sampling(None, model=ENGINE),  # type: ignore[arg-type]
    "a number to explain": lambda: explain_sampling(5, model=ENGINE),  # type: ignore[arg-type]
    "a number as an answer's beginning": lambda: explain_sampling("a", answer=5, model=ENGINE),  # type: ignore[arg-type]
    "a link alone": lambda: sequential(Link("a", "b"), model=MODEL),  # type: ignore[arg-type]
    "a number as shown examples": lambda: chain_of_thought(examples=5, model=MODEL),  # type: ignore[arg-type]
    "a number as all examples": lambda: Examples.similar(5, EMBEDDINGS),  # type: ignore[arg-type]
    "a text as a count": lambda: Examples.similar([("a", "b")], EMBEDDINGS, "x"),  # type: ignore[arg-type]
    "no examples": lambda: Examples.similar([], EMBEDDINGS),
    "a list of pieces": lambda: PROMPT.remove(["data"]),  # type: ignore[arg-type]
    "a number as a prompt": lambda: story_chain(prompts={"title": 5}, model=MODEL),
    "an empty schema": lambda: extract("", model=MODEL),
    "no options": lambda: choice(None),  # type: ignore[arg-type]
    "a document alone": lambda: pinned(Document("x")),  # type: ignore[arg-type]
    "texts as samples": lambda: judge_answers(model=MODEL).invoke(["x"]),
    "a text as messages": lambda: begin(ask(MODEL, "What?", choice(["a"]))).result(),  # type: ignore[arg-type]
    "numbers as messages": lambda: begin(ask(MODEL, [5], choice(["a"]))).result(),  # type: ignore[list-item]
    "a name for extract": lambda: extract(int, model=NAME),
    "a name for summarize": lambda: summarize(model=NAME),
    "a name for map_reduce": lambda: map_reduce("{text}", "{text}", model=NAME),
    "a name for matching": lambda: matching(regex="a", model=NAME),
    "a name for validated": lambda: validated(MODEL, ["a"], model=NAME),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_it_is_refused_with_what_to_do(make: Callable[[], Any]) -> None:
    with pytest.raises(PhiresideError) as refused:
        make()
    assert refused.value.hint
    assert MODEL.asked == []


@pytest.mark.parametrize(
    "make",
    [
        lambda model: extract(int, model=model, max_tokens=5),
        lambda model: matching(regex="a", model=model, max_tokens=5),
        lambda model: map_reduce("{text}", "{text}", model=model, max_tokens=5),
        lambda model: sequential([Link("a", "b", sampling=PRESETS["email"])], model=model),
    ],
)
def test_a_setting_that_somebody_asks_for_and_the_model_lacks_is_refused(make: Callable[[Any], Any]) -> None:
    model = FakeListChatModel(responses=["x"])
    with pytest.raises(NotSupportedError, match="FakeListChatModel has no"):
        make(model)
    assert make(model.bind(max_tokens=9, temperature=1.0, top_p=1.0))


@pytest.mark.parametrize("text", ["Good", "good.", ' "GOOD" ', "good"])
def test_an_option_may_be_written_as_people_do(text: str) -> None:
    assert choice(["good", "bad"]).parse(text) == "good"
    assert choice(["good", "Good"]).parse("Good") == "Good"


def test_a_message_can_be_looked_at_again() -> None:
    asked = answers(lambda messages: "Yes." if "Rule" in messages[0].text else "Hello.")
    for given in (AIMessage("Say hello."), [HumanMessage("Say hello.")]):
        assert validated(asked, ["It is polite."]).invoke(given).valid


def test_an_error_has_no_address_of_pydantics_pages() -> None:
    with pytest.raises(ValueError) as wrong:
        json_form(int).parse('"x"')
    assert "pydantic.dev" in str(wrong.value)
    with pytest.raises(PhiresideError, match="valid integer") as refused:
        extract(int, model=answers('"x"')).invoke("x")
    assert "http" not in str(refused.value)
