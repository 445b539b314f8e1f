"""`yes_no` and `choose`: answers with probabilities, or without where a model has no scores."""

import math
from typing import Any

import pytest
from answers import answers
from scoring import scoring

from phireside.chains import choose, yes_no
from phireside.errors import RequestError


def votes(text: str, said: str) -> float:
    """Yes and No share what their spellings get; texts with "cold" lean to yes."""
    odds = {"Yes": 1, "yes": 2, "No": 4, "no": 1}[said]
    return math.log(odds * (6 if "cold" in text and said.lower() == "yes" else 1))


def test_yes_and_no_add_up_over_their_spellings() -> None:
    found = yes_no("Is it a complaint?", model=scoring(votes), calibrated=False).invoke("The soup was cold.")
    assert found.answer is True
    assert found.probability == pytest.approx(18 / 23)


def test_calibration_moves_yes_and_no_apart_from_the_models_habit() -> None:
    found = yes_no("Is it a complaint?", model=scoring(votes)).invoke("The soup was warm.")
    assert found.probability == pytest.approx(0.5)
    assert found.cost.calls == 4


def test_the_question_is_data() -> None:
    model = scoring(votes)
    yes_no("Is {this} {{odd}}?", model=model).invoke("{text}")
    messages = [message.text for message in model.asked[-1][0]]
    assert messages[0].endswith("Is {this} {{odd}}?")
    assert messages[1] == "{text}"


def test_a_model_without_scores_answers_without_a_probability() -> None:
    found = yes_no("Is it so?", model=answers("no")).invoke("text")
    assert (found.answer, found.probability, found.cost.calls) == (False, None, 1)


@pytest.mark.parametrize("question", ["", "  ", None])
def test_no_question_is_refused(question: Any) -> None:
    with pytest.raises(RequestError, match="no question"):
        yes_no(question, model=answers("no"))


def test_one_of_the_options_is_chosen() -> None:
    model = scoring(lambda text, said: 0.0 if said in text else -3.0)
    found = choose(["apple", "table"], model=model).invoke("Where is the table?")
    assert found.label == "table"
    assert sum((found.probabilities or {}).values()) == pytest.approx(1)
    assert "apple, table" in model.asked[0][0][0].text
    assert choose(["apple", "table"], model=answers("apple")).invoke("Which?").label == "apple"


def test_bad_options_and_empty_questions_are_refused() -> None:
    with pytest.raises(RequestError, match="10,000 options"):
        choose([str(number) for number in range(10_000)], model=answers("1"))
    with pytest.raises(RequestError, match="The options are"):
        choose(["one"], model=answers("one"))
    with pytest.raises(RequestError, match="empty text"):
        choose(["a", "b"], model=answers("a")).invoke("")
