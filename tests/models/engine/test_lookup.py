"""Prompt lookup: guesses are what followed the same words before, and the text is the same with and without them."""

import random
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from engine_tools import GREEDY, NEAR, SMALL, Judge, ask, is_idle, wait_until
from hypothesis import given
from hypothesis import strategies as st

from phireside.models.engine import Ended, Engine, Request, Sampling, Usage
from phireside.models.engine.lookup import Lookup
from phireside.models.grammar import Grammar

DRAFTS = (0, 1, 4, 16)
ROUND = tuple([*range(300, 312)] * 8)
QUOTED = (*range(400, 460), 7, 7, *range(400, 410))
DRAW = Sampling(temperature=1.0, top_k=4, top_p=1.0, min_p=0.0, seed=3)
CIRCLES = Sampling(temperature=0, repeat_penalty=0.5)  # greedy, and fond of repetition: the random model is not
real = pytest.mark.real


# ---- guesses alone ----

few = st.lists(st.integers(0, 3), max_size=60)


@given(few, st.lists(few, max_size=6), st.integers(1, 8), st.integers(-1, 10))
def test_a_guess_is_what_followed_the_newest_earlier_occurrence(
    prompt: list[int], added: list[list[int]], most: int, room: int
) -> None:
    lookup = Lookup(prompt, most)
    tokens = list(prompt)
    for new in added:
        lookup.add(new)
        tokens += new
    guess = lookup.guess(room)
    assert len(guess) <= max(0, min(most, room))
    earlier = [at for at in range(3, len(tokens)) if tokens[at - 3 : at] == tokens[-3:]]
    assert guess == (tokens[earlier[-1] :][: max(0, min(most, room))] if earlier else [])


@given(few, st.integers(1, 8))
def test_it_makes_no_difference_in_what_pieces_the_tokens_come(tokens: list[int], cut: int) -> None:
    whole, pieces = Lookup(tokens, 8), Lookup(tokens[:cut], 8)
    for token in tokens[cut:]:
        pieces.add([token])
    assert whole.guess(8) == pieces.guess(8)


def test_nothing_is_guessed_where_guessing_is_off() -> None:
    lookup = Lookup([1, 2, 3] * 9, 0)
    lookup.add([1, 2, 3])
    assert lookup.guess(8) == []


# ---- the same answers ----


@pytest.fixture(scope="module")
def engines(tiny_phi3: Path) -> Iterator[dict[int, Engine]]:
    with ExitStack() as stack:
        settings = {most: SMALL.model_copy(update={"draft_tokens": most}) for most in DRAFTS}
        yield {most: stack.enter_context(Engine(tiny_phi3, each)) for most, each in settings.items()}


def ask_all(engines: dict[int, Engine], prompt: tuple[int, ...], count: int, **options: Any) -> list[tuple[str, Ended]]:
    """The answer without guesses, and those with them, whose figures are looked at."""
    answers = [ask(engine, prompt, count, **options) for engine in engines.values()]
    for (_, ended), most in zip(answers, engines, strict=True):
        check(ended.usage, most)
    return answers


def check(usage: Usage, most: int) -> None:
    assert 0 <= usage.accepted_tokens <= usage.drafted_tokens <= most * usage.generated_tokens
    assert usage.accepted_tokens <= usage.generated_tokens


@real
@pytest.mark.parametrize("prompt", [ROUND, QUOTED, tuple(range(300, 340))], ids=["round", "quoted", "plain"])
def test_greedy_answers_are_the_same_with_and_without(
    engines: dict[int, Engine], judge: Judge, prompt: tuple[int, ...]
) -> None:
    (text, plain), *others = ask_all(engines, prompt, 200)
    assert judge.text(plain.tokens) == text
    assert (plain.usage.drafted_tokens, plain.usage.accepted_tokens) == (0, 0)
    for other, ended in others:
        assert other == text or judge.doubt(prompt, ended.tokens) < NEAR
        assert ended.usage.generated_tokens == plain.usage.generated_tokens == 200


@real
def test_many_guesses_are_right_where_an_answer_goes_round_in_circles(engines: dict[int, Engine]) -> None:
    answers = ask_all(engines, ROUND, 200, sampling=CIRCLES)
    assert len({text for text, _ in answers}) == 1
    accepted = [ended.usage.accepted_tokens for _, ended in answers]
    assert accepted == sorted(accepted)
    assert min(accepted[1:]) > 50
    assert all(ended.usage.generated_tokens == 200 for _, ended in answers)


@real
def test_draws_are_the_same_with_and_without(engines: dict[int, Engine]) -> None:
    parted = 0
    for seed in range(12):
        draw = Sampling(temperature=1.0, top_k=3, top_p=1.0, min_p=0.0, seed=seed)
        (text, _), *others = ask_all(engines, ROUND, 40, sampling=draw)
        parted += sum(other != text for other, _ in others)
    assert parted <= 2  # of 36: where two tokens were equally good


@real
@pytest.mark.parametrize("penalty", [0.5, 1.3])
def test_penalties_count_each_token_once(engines: dict[int, Engine], penalty: float) -> None:
    parted = 0
    for temperature in (0.0, 0.7):
        draw = Sampling(temperature=temperature, top_k=4, repeat_penalty=penalty, seed=5)
        (text, _), *others = ask_all(engines, ROUND, 80, sampling=draw)
        parted += sum(other != text for other, _ in others)
    assert parted <= 1


@real
def test_a_stop_string_within_a_guess_ends_the_answer_there(engines: dict[int, Engine]) -> None:
    text, _ = ask(engines[0], ROUND, 200, sampling=CIRCLES)
    for at in range(5, len(text) - 40, 83):
        stop = text[at : at + 40]
        answers = ask_all(engines, ROUND, 200, stop=(stop,), sampling=CIRCLES)
        assert {other for other, _ in answers} == {text[: text.index(stop)]}
        assert len({end.usage.generated_tokens for _, end in answers}) == 1
        assert {end.usage.finish_reason for _, end in answers} == {"stop"}


@real
@pytest.mark.parametrize("limit", [1, 2, 3, 150, 151, 152, 153])
def test_limits_hold_to_the_token(engines: dict[int, Engine], limit: int) -> None:
    answers = ask_all(engines, ROUND, limit, sampling=CIRCLES)
    assert {end.usage.generated_tokens for _, end in answers} == {limit}
    assert len({text for text, _ in answers}) == 1


@real
def test_the_context_is_used_to_its_last_token(engines: dict[int, Engine]) -> None:
    for _, ended in ask_all(engines, ROUND, None, sampling=CIRCLES):
        assert ended.usage.generated_tokens == 512 - len(ROUND)


@real
@pytest.mark.parametrize(
    "grammar",
    [
        Grammar.regex("(ab|cd){30}"),
        Grammar.regex("[a-z]{40}"),
        Grammar.json({"type": "array", "items": {"enum": ["red", "green"]}, "minItems": 8, "maxItems": 8}),
        Grammar.choice(["the quick brown fox", "the lazy dog"]),
    ],
    ids=["two", "letters", "json", "choice"],
)
@pytest.mark.parametrize("sampling", [GREEDY, DRAW], ids=["greedy", "drawn"])
def test_grammars_and_guesses_go_together(engines: dict[int, Engine], grammar: Grammar, sampling: Sampling) -> None:
    first, ended = ask(engines[0], ROUND, 120, grammar=grammar, sampling=sampling)
    prompt = (*ROUND, *ended.tokens, 7, *ended.tokens, 7)  # so that there is something to guess
    answers = ask_all(engines, prompt, 120, grammar=grammar, sampling=sampling)
    matcher = grammar.matcher(engines[0].vocabulary.guide, 120)
    matcher.consume(answers[1][1].tokens)
    assert matcher.accepting
    assert sum(text != answers[0][0] for text, _ in answers) <= 1  # at a near-tie
    assert first


# ---- the cache behind them ----


@real
def test_a_cancel_in_the_middle_leaves_a_cache_that_is_right(engines: dict[int, Engine], judge: Judge) -> None:
    engine, chance = engines[16], random.Random(0)
    whole, ended = ask(engine, ROUND, 200, sampling=CIRCLES)
    for _ in range(20):
        answer = engine.complete(Request(ROUND, CIRCLES, 200))
        pieces = list(islice(answer, chance.randrange(1, 40)))
        answer.cancel()
        assert whole.startswith("".join([*pieces, *answer]).rstrip("\ufffd"))
        assert answer.ended
        told = (*ROUND, *answer.ended.tokens, 9)
        _, after = ask(engine, told, 12)  # goes on from what the cancelled one left
        assert after.usage.cached_tokens >= len(ROUND)
        assert judge.doubt(told, after.tokens) < NEAR
    wait_until(lambda: is_idle(engine))
    assert ask(engine, ROUND, 200, sampling=CIRCLES)[0] == whole
    assert ended.usage.accepted_tokens > 50


@real
def test_wrong_guesses_do_not_count_as_cache(engines: dict[int, Engine]) -> None:
    engine = engines[16]
    _, ended = ask(engine, (*QUOTED, 11), 100, sampling=CIRCLES)
    assert ended.usage.accepted_tokens < ended.usage.drafted_tokens
    before = engine.stats().cells_used
    _, again = ask(engine, (*QUOTED, 11, *ended.tokens, 9), 2)
    assert again.usage.evaluated_tokens == 2  # the answer's last token, and the new one
    assert engine.stats().cells_used == before + 3


@real
def test_many_answers_guess_at_once(engines: dict[int, Engine], judge: Judge) -> None:
    for most in (4, 16):
        prompts = [(*ROUND, 600 + n, *ROUND[: 20 + n]) for n in range(10)]
        answers = [engines[most].complete(Request(prompt, GREEDY, 40)) for prompt in prompts]
        for prompt, answer in zip(prompts, answers, strict=True):
            text = "".join(answer)
            assert answer.ended
            tokens = answer.ended.tokens
            assert text == judge.text(tokens)
            assert list(tokens) == judge.greedy(prompt, 40) or judge.doubt(prompt, tokens) < NEAR


@real
def test_a_recurrent_model_does_not_guess(mamba: Path) -> None:
    texts = []
    for most in (0, 16):
        with Engine(mamba, SMALL.model_copy(update={"draft_tokens": most})) as engine:
            text, ended = ask(engine, tuple(range(10, 60)) * 3, 60)
            texts.append(text)
            assert (ended.usage.drafted_tokens, ended.usage.accepted_tokens) == (0, 0)
    assert texts[0] == texts[1]
