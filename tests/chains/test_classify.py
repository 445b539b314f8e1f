"""`classify`: probabilities from scores, calibrated; labels from models without scores; bad labels and examples."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers import answers
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from scoring import scoring

from phireside.chains import Classified, classify
from phireside.chains.scores import NOTHING, Scorer, named
from phireside.errors import ContextOverflowError, RequestError, SettingsError
from phireside.models import ChatGGUF
from phireside.settings import Settings


def prefers(text: str, label: str) -> float:
    """A model that likes "good" anyway, ten to one, and doubles what the text names."""
    return math.log({"good": 10, "bad": 1}[label] * (20 if label in text else 1))


def test_probabilities_add_up_and_the_highest_comes_first() -> None:
    found = classify(["bad", "good"], model=scoring(prefers), calibrated=False).invoke("a bad film")
    assert found.label == "bad"
    assert found.probabilities == pytest.approx({"bad": 20 / 30, "good": 10 / 30})
    assert list(found.probabilities or {}) == ["bad", "good"]


def test_calibration_takes_out_what_the_model_prefers_before_it_reads() -> None:
    model = scoring(lambda text, label: math.log({"good": 10, "bad": 1}[label] * (3 if label in text else 1)))
    plain = classify(["bad", "good"], model=model, calibrated=False).invoke("a bad film")
    calibrated = classify(["bad", "good"], model=model).invoke("a bad film")
    assert (plain.label, calibrated.label) == ("good", "bad")
    assert calibrated.probabilities == pytest.approx({"bad": 0.75, "good": 0.25})


def test_calibration_is_found_once_and_its_cost_is_counted_once() -> None:
    model = scoring(prefers)
    chain = classify(["bad", "good"], model=model)
    first, second = chain.invoke("a bad film"), chain.invoke("a good film")
    assert [messages[-1].text for messages, _ in model.asked] == [*NOTHING, "a bad film", "a good film"]
    assert (first.cost.calls, second.cost.calls) == (4, 1)
    assert second.cost.prompt_tokens == model.get_num_tokens_from_messages(model.asked[-1][0]) + 2


@limits(max_examples=20, deadline=None)
@given(st.lists(st.floats(-5000, 0), min_size=2, max_size=12), st.lists(st.floats(-5000, 0), min_size=12, max_size=12))
async def test_any_scores_give_a_distribution(scores: list[float], empty: list[float]) -> None:
    labels = [f"label {number}" for number in range(len(scores))]

    def rule(text: str, label: str) -> float:
        return (scores if text == "text" else empty)[labels.index(label)]

    found = await classify(labels, model=scoring(rule)).ainvoke("text")
    assert found.probabilities is not None
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert all(0 <= each <= 1 for each in found.probabilities.values())
    assert found.label == max(found.probabilities, key=lambda label: found.probabilities[label])  # type: ignore[index]


async def test_calibration_is_found_once_for_a_batch() -> None:
    model = scoring(prefers)
    found = await classify(["bad", "good"], model=model).abatch(["a", "b", "c", "d"])
    assert len(model.asked) == sum(each.cost.calls for each in found) == len(NOTHING) + 4


async def test_many_labels_are_scored_in_waves() -> None:
    labels = [f"l{number}" for number in range(600)]
    model = scoring(lambda text, label: 0.0 if label == "l599" and text == "x" else -5.0)
    found = await classify(labels, model=model).ainvoke("x")
    assert found.label == "l599"
    assert [len(texts) for _, texts in model.asked[-3:]] == [256, 256, 88]
    assert model.asked[-1][0] == model.asked[-2][0]  # the prompt is the same, and so in the cache
    assert found.cost.cached_tokens > 0


async def test_several_spellings_of_one_answer_are_added() -> None:
    odds = {"Yes": 3, "yes": 3, "No": 4}
    model = scoring(lambda text, said: math.log(odds[said]))
    scorer = Scorer(model, [("Yes", "yes"), ("No",)], lambda text: [HumanMessage(text)], calibrated=False)
    assert (await scorer("x")).probabilities == pytest.approx([0.6, 0.4])


def test_names_of_equal_probability_stay_in_their_order() -> None:
    assert list(named(["b", "a", "c"], np.array([0.25, 0.25, 0.5]))) == ["c", "b", "a"]


def test_examples_stand_between_the_labels_and_the_text() -> None:
    model = scoring(prefers)
    examples = [("fine {film}", "good"), ("dull", "bad")]
    classify({"good": "likes it", "bad": "does not"}, model=model, examples=examples).invoke("a {bad} film")
    messages = [(message.type, message.text) for message in model.asked[-1][0]]
    assert messages[0][1].endswith("- good: likes it\n- bad: does not")
    assert messages[1:] == [
        ("human", "fine {film}"), ("ai", "good"), ("human", "dull"), ("ai", "bad"), ("human", "a {bad} film"),
    ]  # fmt: skip


def test_a_model_without_scores_says_a_label_and_no_probabilities() -> None:
    said = iter(["I think good", "good"])
    model = answers(lambda messages: next(said))
    found = classify(["bad", "good"], model=model).invoke("a good film")
    assert (found.label, found.probabilities, found.cost.calls) == ("good", None, 2)


def test_it_is_a_runnable_with_schemas() -> None:
    chain = classify(["bad", "good"], model=scoring(prefers))
    assert [found.label for found in chain.batch(["good", "bad"])] == ["good", "bad"]
    assert [type(found) for found in chain.stream({"text": "good"})] == [Classified]
    assert chain.get_input_jsonschema()["properties"] == {"text": {"title": "Text", "type": "string"}}


@pytest.mark.parametrize("labels", [[], ["one"], "positive", ["a", ""], ["a", 1], ["a", "a "]])
def test_bad_labels_are_refused(labels: Any) -> None:
    with pytest.raises(RequestError, match="labels") as caught:
        classify(labels, model=scoring(prefers))
    assert caught.value.hint


def test_names_with_blanks_around_them_keep_their_descriptions() -> None:
    model = answers("bug")
    assert classify({" bug": "something broken", "wish ": "something new"}, model=model).invoke("x").label == "bug"
    assert "- bug: something broken\n- wish: something new" in model.asked[0][0][1]


def test_ten_thousand_labels_get_an_error_that_says_what_to_do() -> None:
    with pytest.raises(RequestError, match=r"10,000 labels are more than the 1,000 .* groups"):
        classify([f"label {number}" for number in range(10_000)], model=scoring(prefers))


@pytest.mark.parametrize("examples", [[("text", "other")], [("", "good")], ["good"], [("a", "good", "b")]])
def test_examples_that_do_not_fit_are_refused(examples: Any) -> None:
    with pytest.raises(RequestError, match="Example 1 of 1"):
        classify(["bad", "good"], model=scoring(prefers), examples=examples)


def test_empty_and_unknown_input_is_refused() -> None:
    chain = classify(["bad", "good"], model=scoring(prefers))
    for value, said in ((" ", "empty text"), ({"text": "a", "other": 1}, "unknown: other"), ({}, "missing: text")):
        with pytest.raises(RequestError, match=said):
            chain.invoke(value)


def test_prompts_can_be_overridden_with_the_same_variables_only() -> None:
    model = scoring(prefers)
    classify(["bad", "good"], model=model, prompts={"plain": "One of {labels}:"}).invoke("good")
    assert model.asked[-1][0][0].text == "One of bad, good:"
    with pytest.raises(SettingsError, match="variables"):
        classify(["bad", "good"], model=model, prompts={"plain": "no variable"})


@pytest.fixture
def starter(settings: Settings, starter_path: Path) -> ChatGGUF:
    return ChatGGUF(model="starter", settings=settings, n_ctx=512)


@pytest.mark.real
def test_the_starter_tells_joy_from_anger_and_labels_that_begin_alike(starter: ChatGGUF) -> None:
    chain = classify(["positive", "negative"], model=starter)
    good, bad = chain.batch(["I love it, it is wonderful!", "I hate it, it is terrible!"])
    assert good.probabilities is not None
    assert bad.probabilities is not None
    assert good.probabilities["positive"] > bad.probabilities["positive"]
    # Without the token that ends it, "not bad" could never be more probable than "not".
    plain, whole = (starter.score("Say: not bad", ["not", "not bad"], whole=each) for each in (False, True))
    assert plain[0].logprob > plain[1].logprob
    assert [score.tokens for score in whole] == [score.tokens + 1 for score in plain]
    assert whole[1].logprob > whole[0].logprob


@pytest.mark.real
def test_a_text_ten_times_the_context_is_an_error_with_the_numbers(starter: ChatGGUF) -> None:
    with pytest.raises(ContextOverflowError, match="the context holds 512"):
        classify(["positive", "negative"], model=starter).invoke("It rained again. " * 1000)
