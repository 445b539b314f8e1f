"""Votes are counted right whatever the order, end when they are decided, and cancel what is still written."""

import subprocess
import sys
import time
from decimal import Decimal
from typing import Any

import pytest
from answers import answers
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import BaseMessage
from pydantic import BaseModel
from thinking import answering, reasoning, thinker

from phireside.chains.forms import choice, number
from phireside.chains.paths import Path
from phireside.chains.self_consistency import answer_key, decided, self_consistency, vote
from phireside.errors import ContextOverflowError, EngineError, GrammarError, RequestError
from phireside.models import ChatGGUF

APPLES = "The cafeteria had 23 apples. If they used 20 and bought 6 more, how many do they have?"


def answered(value: Any) -> Path:
    return Path(answer=value, state="answered")


ballots = st.lists(st.one_of(st.integers(1, 4).map(answered), st.just(Path(state="failed"))), min_size=1, max_size=15)


@given(ballots, st.randoms(use_true_random=False))
def test_ending_early_never_changes_the_winner_in_whatever_order_paths_are_ready(
    paths: list[Path], chance: Any
) -> None:
    ready = list(range(len(paths)))
    chance.shuffle(ready)
    now = [Path() for _ in paths]
    for each in ready:
        now[each] = paths[each]
        if decided(now):
            break
    assert vote(now)[0] == vote(paths)[0]


@given(ballots)
def test_the_winner_has_the_most_votes_and_in_a_tie_the_lowest_number(paths: list[Path]) -> None:
    answer, agreement = vote(paths)
    votes = [path.answer for path in paths if path.state == "answered"]
    most = max(map(votes.count, votes), default=0)
    assert answer == next((value for value in votes if votes.count(value) == most), None)
    assert agreement == (most / len(votes) if votes else 0)


@given(ballots)
def test_a_vote_is_not_decided_as_long_as_another_could_catch_up(paths: list[Path]) -> None:
    growing = [*paths, *[Path()] * 3]
    if decided(growing):
        winner = vote(paths)[0]
        assert all(vote([*paths, *[answered(other)] * 3])[0] == winner for other in (1, 2, 3, 4, 99))


class Point(BaseModel):
    x: int


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Decimal(3), Decimal("3.00")),
        ("New  York", "new york"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (Point(x=1), Point(x=1)),
        ([1, 2], [1, 2]),
    ],
)
def test_equal_answers_are_one_answer(one: Any, other: Any) -> None:
    assert vote([answered(one), answered("else"), answered(other)]) == (one, 2 / 3)


@pytest.mark.parametrize(("one", "other"), [([1, 2], [2, 1]), ("3", Decimal(3)), ({"a": 1}, {"a": 2})])
def test_other_answers_are_others(one: Any, other: Any) -> None:
    assert answer_key(one) != answer_key(other)


def test_the_majority_wins_with_its_share() -> None:
    model = thinker("so 7", "so 9", "so 9.0", "so 8", "so 9")
    result = self_consistency(5, model=model, form=number(), at_once=1).invoke(APPLES)
    assert (result.answer, result.agreement, result.cost.calls) == (Decimal(9), 0.6, 10)
    assert [path.state for path in result.paths] == ["answered"] * 5
    assert [path.answer for path in result.paths] == [7, 9, 9, 8, 9]


def test_a_decided_vote_ends_the_paths_that_are_still_written() -> None:
    slow = " ".join(["hm"] * 300)
    model = thinker("so 9", "so 9", "so 9", f"{slow} 1", f"{slow} 2", pause=0.002)
    results = list(self_consistency(5, model=model, form=number()).stream(APPLES))
    last = results[-1]
    assert (last.answer, last.agreement) == (Decimal(9), 1.0)
    assert [path.state for path in last.paths] == ["answered"] * 3 + ["dropped"] * 2
    assert all(0 < len(path.text) < len(slow) and path.cost.calls == 1 for path in last.paths[3:])
    assert len(model.left) == 2


def test_agreement_counts_votes_that_were_cast_so_an_early_end_gives_more_than_all_would() -> None:
    thoughts = ("so 9", "so 9", "so 9", "so 1", "so 2")
    early = self_consistency(5, model=thinker(*thoughts), form=number(), at_once=1).invoke(APPLES)
    assert (early.answer, early.agreement) == (Decimal(9), 1.0)
    assert vote([answered(value) for value in (9, 9, 9, 1, 2)]) == (9, 0.6)
    assert sum(path.answer == early.answer for path in early.paths) / len(early.paths) == 0.6  # what is certain


def test_paths_grow_side_by_side_in_the_stream() -> None:
    model = thinker("a b c 1", "d e f 2", "g h i 3")
    results = list(self_consistency(3, model=model, form=number()).stream(APPLES))
    assert any(all(path.text for path in result.paths) and result.answer is None for result in results)


def test_a_path_without_an_answer_has_no_vote() -> None:
    model = thinker("so nothing", "so 9")
    result = self_consistency(2, model=model, form=number(), at_once=1).invoke(APPLES)
    assert (result.answer, result.agreement) == (Decimal(9), 1.0)
    assert result.paths[0].state == "failed"
    assert "a number" in result.paths[0].problem


def test_no_answer_at_all_is_an_error_with_the_numbers() -> None:
    with pytest.raises(EngineError, match="None of 3 paths"):
        self_consistency(3, model=thinker("so nothing"), form=number()).invoke(APPLES)


def test_the_error_of_a_server_is_raised_and_ends_the_other_paths() -> None:
    def rule(messages: list[BaseMessage]) -> Any:
        return ConnectionError("gone") if answering(messages) and reasoning(messages) == "so 9" else next(thoughts)

    thoughts = iter(["so 9", " ".join(["hm"] * 300)])
    model = answers(rule, pause=0.001)
    with pytest.raises(ConnectionError):
        self_consistency(2, model=model, form=number()).invoke(APPLES)
    assert model.left == [1]


def test_whoever_stops_reading_cancels_all_paths() -> None:
    model = thinker(" ".join(["hm"] * 300), pause=0.001)
    stream = self_consistency(3, model=model, form=number()).stream(APPLES)
    while not all(path.text for path in next(stream).paths):
        pass
    stream.close()
    deadline = time.monotonic() + 60
    while len(model.left) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(model.left) == 3


@pytest.mark.parametrize("options", [{"n": 0}, {"n": -1}, {"n": 2.5}, {"at_once": 0}, {"max_tokens": 0}])
def test_numbers_that_cannot_be_used_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=next(iter(options))):
        self_consistency(**{"n": 5, **options}, model=thinker("so 9"))


def test_paths_of_a_model_with_a_seed_have_seeds_of_their_own() -> None:
    model = thinker("so 9", "so 8", "so 7").bind(seed=40)
    self_consistency(3, model=model, form=number()).invoke(APPLES)
    seeds = [each["seed"] for each in model.bound.arguments if "max_tokens" in each]
    assert sorted(seeds) == [40, 41, 42]


def test_importing_the_module_leaves_the_function_in_the_package() -> None:
    code = "import phireside.chains.tree_of_thought as _, phireside.chains as c; print(callable(c.self_consistency))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_what_no_path_can_do_is_an_error_of_its_own() -> None:
    model = answers(lambda messages: GrammarError("too long") if answering(messages) else "so 9")
    with pytest.raises(GrammarError):
        self_consistency(3, model=model, form=number()).invoke(APPLES)


# ---- real weights ----------------------------------------------------------------------------------------------------


@pytest.mark.real
async def test_paths_share_the_reading_of_their_prompt(starter_path: Any) -> None:
    model = ChatGGUF(model=str(starter_path), n_ctx=2048, seed=7)
    result = await self_consistency(5, model=model, form=number(), max_tokens=16).ainvoke(APPLES)
    whole = [path.cost for path in result.paths if path.cost.calls == 2]
    *others, _reader = sorted(cost.evaluated_tokens for cost in whole)  # whichever came first reads it for all
    assert isinstance(result.answer, Decimal)
    assert len({path.text for path in result.paths}) > 1
    assert sum(others) < whole[0].prompt_tokens / 2 * len(others) / 2


@pytest.mark.real
def test_the_vote_of_real_paths_ends_early_when_there_is_no_choice(starter_path: Any) -> None:
    model = ChatGGUF(model=str(starter_path), n_ctx=2048, seed=7)
    result = self_consistency(5, model=model, form=choice(["nine"]), max_tokens=24, at_once=2).invoke(APPLES)
    assert (result.answer, result.agreement) == ("nine", 1.0)
    assert [path.state for path in result.paths].count("answered") in (3, 4)
    assert "dropped" in [path.state for path in result.paths]


@pytest.mark.real
def test_a_question_longer_than_the_context_is_an_error_with_the_numbers(starter_path: Any) -> None:
    with pytest.raises(ContextOverflowError, match="512"):
        self_consistency(3, model=ChatGGUF(model=str(starter_path), n_ctx=512)).invoke("apples " * 5120)
