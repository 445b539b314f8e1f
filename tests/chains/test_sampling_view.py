"""`explain_sampling`: numbers that add up, in the engine's order, for every kind of prompt; and what it refuses."""

from typing import Any

import numpy as np
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompt_values import StringPromptValue
from scripted import scripted

from phireside.chains import explain_sampling
from phireside.chains.sampling_view import ExplainedSampling, _explained
from phireside.errors import ContextOverflowError, NotSupportedError, RequestError
from phireside.models import PRESETS, ChatGGUF, NextTokens, Sampling, Usage, settings_of
from phireside.models.engine import sampling_stages

QUESTION = "Complete the sentence: I am driving a"
BEGUN = "I am driving a"
STAGES = ["top-k", "top-p", "min-p", "temperature"]


@pytest.fixture(scope="module")
def model(starter_path: Any) -> ChatGGUF:
    return ChatGGUF(model=str(starter_path), n_ctx=512)


def explained(model: Any, prompt: Any = QUESTION, **options: Any) -> ExplainedSampling:
    return explain_sampling(prompt, model=model, **{"answer": BEGUN, **options})


@pytest.mark.real
def test_the_numbers_add_up(model: ChatGGUF) -> None:
    found = explained(model, top=200)
    assert [stage.name for stage in found.stages] == STAGES
    assert [stage.value for stage in found.stages] == [40, 0.95, 0.05, 0.7]
    kept = [stage.kept for stage in found.stages]
    assert kept == sorted(kept, reverse=True)
    for number, stage in enumerate(found.stages):
        left = [each for each in found.candidates if each.after[number] > 0]
        assert len(left) == stage.kept
        assert sum(each.after[number] for each in left) == pytest.approx(1)
        assert sum(each.probability for each in left) == pytest.approx(stage.share)
        bits = -sum(each.after[number] * np.log2(each.after[number]) for each in left)
        assert stage.entropy == pytest.approx(bits)
    own = [each.probability for each in found.candidates]
    assert own == sorted(own, reverse=True)
    assert 0 < sum(own) < 1
    assert found.entropy < np.log2(found.vocabulary)
    assert (found.cost.calls, found.cost.generated_tokens) == (1, 0)
    assert [each.kept for each in found.candidates].count(True) == kept[-1]


@pytest.mark.real
def test_the_probabilities_are_those_that_score_gives(model: ChatGGUF) -> None:
    found = explain_sampling("Is the sky blue? Answer yes or no.", model=model, top=5)
    texts = [each.text for each in found.candidates if not each.ends]
    scores = model.score("Is the sky blue? Answer yes or no.", texts)
    for text, score in zip(texts, scores, strict=True):
        (candidate,) = [each for each in found.candidates if each.text == text]
        assert score.tokens == 1
        assert np.exp(score.logprob) == pytest.approx(candidate.probability, rel=0.2, abs=0.01)  # see engine_tools


@pytest.mark.real
def test_temperature_sharpens_and_flattens_but_removes_nothing(model: ChatGGUF) -> None:
    sharp, flat = (explained(model, sampling={"temperature": value}).stages[-1] for value in (0.2, 2))
    assert sharp.kept == flat.kept
    assert sharp.entropy < flat.entropy


@pytest.mark.real
def test_at_temperature_0_one_token_is_left(model: ChatGGUF) -> None:
    found = explained(model, sampling={"temperature": 0})
    assert [(stage.name, stage.kept, stage.entropy) for stage in found.stages] == [("greedy", 1, 0)]
    assert found.candidates[0].after == (1.0,)
    assert not any(each.kept for each in found.candidates[1:])
    begun = [HumanMessage(QUESTION)]
    answer = model.bind(temperature=0, max_tokens=1).invoke(begun)
    assert answer.text == explain_sampling(begun, model=model, sampling={"temperature": 0}).candidates[0].text


@pytest.mark.real
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_explained(model: ChatGGUF, name: str) -> None:
    found = explained(model.bind(top_k=9, max_tokens=1), sampling=PRESETS[name])
    assert found.stages == explained(model, sampling={"top_k": 9, **settings_of(name)}).stages
    assert found.sampling.temperature == PRESETS[name].temperature
    assert found.sampling.top_p == PRESETS[name].top_p
    assert found.sampling.top_k == 9


@pytest.mark.real
def test_a_repetition_penalty_comes_first(model: ChatGGUF) -> None:
    found = explained(model, "car " * 20, answer="car car", sampling={"repeat_penalty": 5.0}, top=3)
    assert [stage.name for stage in found.stages] == ["repetition penalty", *STAGES]
    assert found.stages[0].kept == found.vocabulary
    assert found.candidates[0].text == " car"
    assert not found.candidates[0].kept


@pytest.mark.real
def test_what_a_penalty_lifts_is_listed_though_the_models_own_order_has_it_far_down(model: ChatGGUF) -> None:
    sampling = Sampling(temperature=1, top_k=2, repeat_penalty=50)
    logits = np.array([9.0, 8.9, 8.8, 8.7, 8.6, 8.5, 6.0, 0.0], np.float32)
    stages = sampling_stages(logits, sampling, range(6))
    vocabulary = model.next_tokens("Hi").vocabulary
    found = _explained(NextTokens(logits, tuple(stages), sampling, Usage("stop", 6), vocabulary), top=2)
    assert [each.token for each in found.candidates] == [0, 6]
    assert [each.kept for each in found.candidates] == [False, True]


@pytest.mark.real
def test_a_prompt_may_be_text_messages_or_a_prompt_value(model: ChatGGUF) -> None:
    one, two, three = (
        explained(model, prompt).candidates[0].token
        for prompt in (QUESTION, [HumanMessage(QUESTION)], StringPromptValue(text=QUESTION))
    )
    assert one == two == three
    chat = [SystemMessage("Be kind."), HumanMessage("Hi {x}"), AIMessage("Hello!"), HumanMessage("{{y}}")]
    assert len(explained(model, chat, answer="").candidates) == 20


@pytest.mark.real
def test_the_table_has_a_row_for_each_candidate(model: ChatGGUF) -> None:
    found = explained(model, top=3)
    rows = found.table()
    assert [list(row) for row in rows] == [["token", "model", *STAGES]] * 3
    assert [row["temperature"] for row in rows] == [each.after[-1] for each in found.candidates]
    assert rows[0]["token"].startswith(" "), "Blanks are part of a token."


@pytest.mark.real
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": " \n"}, "prompt is empty"),
        ({"prompt": []}, "no messages"),
        ({"top": 0}, "top is 0"),
        ({"sampling": "wild"}, "no preset 'wild'"),
        ({"sampling": {"heat": 1}}, "heat is no sampling setting"),
        ({"sampling": {"temperature": -1}}, "temperature is -1"),
    ],
)
def test_bad_input_is_refused_with_the_reason(model: ChatGGUF, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        explained(model, **options)


@pytest.mark.real
def test_a_prompt_ten_times_the_context_is_refused_with_the_numbers(model: ChatGGUF) -> None:
    with pytest.raises(ContextOverflowError, match="the context holds 512") as refused:
        explained(model, "word " * 5120)
    assert refused.value.hint


def test_a_model_without_the_engine_says_what_to_use_instead() -> None:
    with pytest.raises(NotSupportedError, match="Scripted does not give") as refused:
        explain_sampling("Hi", model=scripted("Hello"))
    assert "ChatGGUF" in refused.value.hint
