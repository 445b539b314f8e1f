"""The best steps are followed, within depth, width and tokens; ratings are the model's probabilities."""

import math
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from answers import Answers, answers
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage
from scoring import Scoring
from thinking import answering, thinker

from phireside.chains.cost import Cost
from phireside.chains.forms import number
from phireside.chains.paths import Path
from phireside.chains.tree_of_thought import RATINGS, expected, three_experts, tree_of_thought
from phireside.errors import EngineError, GrammarError, RequestError
from phireside.models import ChatGGUF

APPLES = "The cafeteria had 23 apples. If they used 20 and bought 6 more, how many do they have?"


def climber(**fields: Any) -> Answers:
    """Proposes the steps s0, s1, s2, …; every third one is sure. Its answer is how many sure steps are behind it."""
    numbers = count()

    def rule(messages: list[BaseMessage]) -> str:
        steps = [int(message.text[1:]) for message in messages if message.type == "ai" and message.text[0] == "s"]
        if answering(messages):
            return str(sum(step % 3 == 2 for step in steps))
        if "sure, likely or impossible" in " ".join(message.text for message in messages):
            return "sure" if steps[-1] % 3 == 2 else "impossible"
        return f"s{next(numbers)}"

    return answers(rule, **fields)


def test_the_best_steps_are_followed_and_answered() -> None:
    result = tree_of_thought(model=climber(), form=number(), depth=2, width=1, branches=3).invoke(APPLES)
    assert [path.text for path in result.paths] == ["s0", "s1", "s2", "s2\ns3", "s2\ns4", "s2\ns5"]
    states = [path.state for path in result.paths]
    assert states == ["dropped", "dropped", "extended", "dropped", "dropped", "answered"]
    assert [path.parent for path in result.paths] == [None, None, None, 2, 2, 2]
    assert [path.rating for path in result.paths] == [0, 0, 1, 0, 0, 1]
    assert (result.answer, result.agreement) == (Decimal(2), 1.0)
    assert result.cost.calls == 6 + 6 + 1


def test_each_prompt_goes_on_where_the_one_before_ended() -> None:
    model = climber()
    tree_of_thought(model=model, form=number(), depth=2, width=1, branches=3).invoke(APPLES)
    begun = [asked[0] for asked in model.asked]
    assert len(set(begun)) == 1
    last = model.asked[-1]
    assert [text for kind, text in last if kind == "ai" and text.startswith("s")] == ["s2", "s5"]


@pytest.mark.parametrize(("depth", "width", "branches"), [(1, 1, 1), (2, 2, 3), (3, 1, 2), (1, 5, 2)])
def test_depth_and_width_bound_the_tree(depth: int, width: int, branches: int) -> None:
    chain = tree_of_thought(model=climber(), form=number(), depth=depth, width=width, branches=branches)
    result = chain.invoke(APPLES)
    sizes, tips = [], 1
    for _ in range(depth):
        sizes.append(tips * branches)
        tips = min(width, sizes[-1])
    assert len(result.paths) == sum(sizes)
    assert sum(path.state == "answered" for path in result.paths) == tips


@pytest.mark.parametrize("max_tokens", [10, 25, 40, 1000])
def test_tokens_bound_the_tree(max_tokens: int) -> None:
    def rule(messages: list[BaseMessage]) -> str:
        if answering(messages):
            return "9"
        return "likely" if "impossible" in messages[-1].text else " ".join(["hm"] * 10)

    bounds = {"depth": 4, "width": 2, "branches": 2, "step_tokens": 10, "max_tokens": max_tokens}
    chain = tree_of_thought(model=answers(rule), form=number(), **bounds)
    result = chain.invoke(APPLES)
    assert result.answer == 9
    assert 10 <= 10 * len(result.paths) <= max_tokens


def test_the_tree_is_streamed_as_it_grows() -> None:
    results = list(tree_of_thought(model=climber(), form=number(), depth=2, width=1, branches=2).stream(APPLES))
    sizes = [len(result.paths) for result in results]
    assert sizes == sorted(sizes)
    assert {2, 4} <= set(sizes)
    assert results[0].answer is None


def test_a_best_path_without_an_answer_leaves_the_next_best() -> None:
    def rule(messages: list[BaseMessage]) -> Any:
        if answering(messages):
            return "none" if any(message.text == "good" for message in messages) else "9"
        if "impossible" in messages[-1].text:
            return "sure" if messages[-2].text == "good" else "likely"
        return next(steps)

    steps = iter(["good", "fair"])
    chain = tree_of_thought(model=answers(rule), form=number(), depth=1, width=2, branches=2)
    result = chain.invoke(APPLES)
    assert result.answer == 9
    assert sorted(path.state for path in result.paths) == ["answered", "failed"]


def test_a_rating_that_cannot_be_read_is_0_and_the_tree_goes_on() -> None:
    def rule(messages: list[BaseMessage]) -> str:
        if answering(messages):
            return "9"
        if any("impossible" in message.text for message in messages):
            return "sure" if any(message.text == "good" for message in messages) else "who knows"
        return next(steps)

    steps = iter(["odd", "good"])
    result = tree_of_thought(model=answers(rule), form=number(), depth=1, width=1, branches=2).invoke(APPLES)
    assert [path.rating for path in result.paths] == [0.0, 1.0]
    assert [path.state for path in result.paths] == ["dropped", "answered"]
    assert result.answer == 9


def test_a_rating_that_nobody_could_give_is_an_error() -> None:
    model = answers(lambda messages: GrammarError("no") if "impossible" in messages[-1].text else "hm")
    with pytest.raises(GrammarError):
        tree_of_thought(model=model, form=number(), depth=1, width=1, branches=1).invoke(APPLES)


class Rater(Scoring):
    async def ascore(self, messages: Any, continuations: Any, *, whole: bool = False) -> Any:
        return await super().ascore(messages, continuations, whole=True)


async def test_a_rating_costs_its_prompt_and_the_words_that_are_scored() -> None:
    model = Rater(rule=lambda prompt, text: -1.0 if text == "sure" else -99.0, asked=[])
    rating, cost = await tree_of_thought(model=model)._rating([HumanMessage("one two three four")])
    assert rating == pytest.approx(1)
    assert cost == Cost(calls=1, prompt_tokens=4 + 3)


def test_no_answer_at_all_is_an_error() -> None:
    def rule(messages: list[BaseMessage]) -> str:
        return "sure" if "impossible" in str(messages[-1]) else "hm"

    with pytest.raises(EngineError, match="None of 1 paths"):
        tree_of_thought(model=answers(rule), form=number(), depth=1, width=1, branches=1).invoke(APPLES)


@pytest.mark.parametrize("name", ["depth", "width", "branches", "step_tokens", "max_tokens"])
@pytest.mark.parametrize("value", [0, -3, 1.5])
def test_numbers_that_cannot_be_used_are_refused(name: str, value: Any) -> None:
    with pytest.raises(RequestError, match=name):
        tree_of_thought(model=climber(), **{name: value})


def test_less_tokens_than_one_step_are_refused() -> None:
    with pytest.raises(RequestError, match="one step may have 64"):
        tree_of_thought(model=climber(), max_tokens=63)


@given(st.lists(st.floats(-800, 0), min_size=3, max_size=3))
def test_a_rating_is_the_mean_of_the_words_weighted_by_their_probability(logprobs: list[float]) -> None:
    rating = expected(RATINGS, logprobs)
    assert 0 <= rating <= 1
    if min(logprobs) > -50:
        sure, likely, impossible = (math.exp(each) for each in logprobs)
        assert rating == pytest.approx((sure + likely / 2) / (sure + likely + impossible))


def test_a_word_that_is_far_more_probable_decides_the_rating() -> None:
    assert expected(RATINGS, [-1000, -2000, -2000]) == 1
    assert expected(RATINGS, [-2000, -1000, -2000]) == 0.5


def test_three_experts_are_one_prompt() -> None:
    model = thinker("Expert A says 9")
    result = three_experts(model=model, form=number()).invoke(APPLES)
    assert (result.answer, result.cost.calls) == (9, 2)
    assert "Imagine three different experts" in model.asked[0][0][1]
    assert APPLES in model.asked[0][0][1]
    assert isinstance(result.paths[0], Path)


@pytest.mark.real
def test_a_real_tree_is_rated_by_probabilities_and_reads_its_steps_once(starter_path: Any) -> None:
    model = ChatGGUF(model=str(starter_path), n_ctx=2048, seed=5)
    chain = tree_of_thought(model=model, form=number(), depth=2, width=2, branches=2, step_tokens=16, max_tokens=120)
    result = chain.invoke(APPLES)
    assert isinstance(result.answer, Decimal)
    assert len(result.paths) == 2 + 4
    assert all(path.rating and 0 < path.rating < 1 for path in result.paths)
    assert len({path.rating for path in result.paths}) > 1
    # Steps and answers find nearly all in the cache; ratings, half of the prompts, count as read.
    assert result.cost.cached_tokens > result.cost.prompt_tokens / 3
