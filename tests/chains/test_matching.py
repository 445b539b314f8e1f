"""`matching`: only texts of the pattern or grammar come out."""

import re
from pathlib import Path
from typing import Any

import pytest
from answers import answers

from phireside.chains import matching
from phireside.errors import EngineError, GrammarError, RequestError
from phireside.models import ChatGGUF
from phireside.settings import Settings

DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"


def test_an_answer_that_matches_is_passed_on_with_its_cost() -> None:
    model = answers("1969-07-20")
    found = matching(regex=DATE, model=model, max_tokens=12).invoke("When, {really}?")
    assert (found.text, found.cost.calls) == ("1969-07-20", 1)
    assert model.asked[0][0] == ("human", "When, {really}?")
    assert model.arguments[0]["max_tokens"] == 12


def test_a_model_without_grammars_is_asked_again_and_then_given_up() -> None:
    said = iter(["in July 1969", "1969-07-20"])
    assert matching(regex=DATE, model=answers(lambda messages: next(said))).invoke("When?").cost.calls == 2
    with pytest.raises(EngineError, match="None of 3 answers"):
        matching(lark='start: "x"', model=answers("y")).invoke("What?")


@pytest.mark.parametrize("forms", [{}, {"regex": "a", "lark": 'start: "a"'}, {"regex": ""}])
def test_exactly_one_form_is_needed(forms: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=r"regex=… or lark=…"):
        matching(**forms, model=answers("a"))


def test_what_does_not_compile_is_refused_at_once() -> None:
    with pytest.raises(GrammarError, match="does not compile"):
        matching(regex="(?<=a)b", model=answers("b"))


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(RequestError, match="empty text"):
        matching(regex="a", model=answers("a")).invoke("  ")


@pytest.mark.real
def test_the_starter_cannot_leave_the_pattern(settings: Settings, starter_path: Path) -> None:
    model = ChatGGUF(model="starter", settings=settings, temperature=1.5)
    dates = matching(regex=DATE, model=model).batch(["When were you born?"] * 4)
    assert all(re.fullmatch(DATE, found.text) for found in dates)
    found = matching(lark='start: "<" /[a-z]{1,9}/ ">"', model=model).invoke("Say a word.")
    assert re.fullmatch("<[a-z]{1,9}>", found.text)
