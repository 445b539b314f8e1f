"""Several answers to one prompt: it is read once, and each answer is the one that the request gets alone."""

import gc
from dataclasses import replace
from pathlib import Path

import pytest
from engine_tools import GREEDY, NEAR, SMALL, Judge, ask, is_idle, wait_until

from phireside.errors import ContextOverflowError, EngineBusyError, EngineClosedError, GrammarError, RequestError
from phireside.models.engine import Completion, Engine, Priority, Request, Sampling, Usage
from phireside.models.grammar import Grammar

pytestmark = pytest.mark.real

PROMPT = tuple(range(300, 340))
# Of few tokens: with all of them, a last bit of a logit would move the draw from one improbable token to the next.
DRAW = Sampling(temperature=1.2, top_k=4, top_p=1.0, min_p=0.0, seed=2**32 - 3)
DIGITS = Grammar.regex("[0-9]{6}")


def read(answers: list[Completion]) -> tuple[list[str], list[tuple[int, ...]], list[Usage]]:
    texts = ["".join(answer) for answer in answers]
    ends = [answer.ended for answer in answers]
    assert all(ends)
    return texts, [end.tokens for end in ends if end], [end.usage for end in ends if end]


# ---- samples ----


@pytest.mark.parametrize("count", [1, 5, 20])
def test_samples_read_the_prompt_once_and_equal_single_requests_with_their_seeds(engine: Engine, count: int) -> None:
    request = Request(PROMPT, DRAW, 12)
    texts, _, usages = read(engine.fork(request, count))
    assert sum(usage.evaluated_tokens for usage in usages) <= len(PROMPT) + count
    assert len(set(texts)) == count
    seeds = [(2**32 - 3 + number) % 2**32 for number in range(count)]  # they go round
    alone = [ask(engine, PROMPT, 12, sampling=replace(DRAW, seed=seed))[0] for seed in seeds]
    again, _, _ = read(engine.fork(request, count))
    for other in (alone, again):
        assert sum(one != two for one, two in zip(texts, other, strict=True)) <= count / 20  # at near-ties


def test_samples_without_a_seed_differ_and_greedy_ones_do_not(engine: Engine, judge: Judge) -> None:
    texts, _, _ = read(engine.fork(Request(PROMPT, replace(DRAW, seed=None), 12), 4))
    assert len(set(texts)) == 4
    _, tokens, _ = read(engine.fork(Request(PROMPT, GREEDY, 12), 4))
    assert all(judge.doubt(PROMPT, each) < NEAR for each in set(tokens))


def test_no_samples_are_no_work(engine: Engine) -> None:
    assert engine.fork(Request(PROMPT), 0) == engine.fork(Request(PROMPT), []) == []


# ---- branches ----


def test_branches_go_on_from_their_own_tokens_and_the_text_is_what_follows(engine: Engine, judge: Judge) -> None:
    beginnings = [(700, 701), (), (5,), (700, 702, 703)]
    texts, tokens, usages = read(engine.fork(Request(PROMPT, GREEDY, 10), beginnings))
    assert sum(usage.evaluated_tokens for usage in usages) <= len(PROMPT) + sum(map(len, beginnings)) + 4
    assert [usage.prompt_tokens for usage in usages] == [42, 40, 41, 43]
    for beginning, text, answer in zip(beginnings, texts, tokens, strict=True):
        assert text == judge.text(answer)
        assert len(answer) == 10
        assert judge.doubt([*PROMPT, *beginning], answer) < NEAR


def test_a_grammar_has_seen_the_beginnings_and_forks_with_them(engine: Engine) -> None:
    heads = ["12", "", "9", "123456"[:5]]
    beginnings = [engine.vocabulary.tokenize(head, markers=False) if head else [] for head in heads]
    spelled = [b"".join(map(engine.vocabulary.piece, tokens)).decode() for tokens in beginnings]
    grammar = Grammar.regex(" ?[0-9]{6}")
    texts, _, usages = read(engine.fork(Request(PROMPT, GREEDY, 10, grammar=grammar), beginnings))
    for head, text in zip(spelled, texts, strict=True):
        assert (head + text).strip().isdigit()
        assert len((head + text).strip()) == 6
    assert {usage.finish_reason for usage in usages} == {"stop"}


def test_one_branch_that_the_grammar_refuses_refuses_them_all(engine: Engine) -> None:
    with pytest.raises(GrammarError):
        engine.fork(Request(PROMPT, GREEDY, 10, grammar=DIGITS), [[], engine.vocabulary.tokenize("x", markers=False)])
    assert (engine.stats().waiting, engine.stats().state) == (0, "unloaded")


def test_samples_under_a_grammar_are_each_a_text_of_it(engine: Engine) -> None:
    texts, _, _ = read(engine.fork(Request(PROMPT, replace(DRAW, seed=1), 10, grammar=DIGITS), 8))
    assert all(len(text) == 6 and text.isdigit() for text in texts)
    assert len(set(texts)) == 8


@pytest.mark.parametrize(
    ("beginnings", "error"),
    [([[5], [-1]], RequestError), ([[5], [40_000]], RequestError), ([[5], [5] * 470], ContextOverflowError)],
)
def test_one_branch_that_cannot_be_refuses_them_all(
    engine: Engine, beginnings: list[list[int]], error: type[Exception]
) -> None:
    with pytest.raises(error):
        engine.fork(Request(PROMPT, GREEDY, 10), beginnings)
    assert (engine.stats().waiting, engine.stats().state) == (0, "unloaded")


# ---- a crowd ----


def test_more_branches_than_cells_come_one_after_the_other(tiny_phi3: Path, judge: Judge) -> None:
    with Engine(tiny_phi3, SMALL.model_copy(update={"cache_tokens": 512})) as engine:
        _, tokens, _ = read(engine.fork(Request(PROMPT, GREEDY, 200), [(700 + n,) for n in range(7)]))
        assert engine.stats().cells_used <= 512
    for number, answer in enumerate(tokens):
        assert len(answer) == 200
        assert list(answer[:20]) == judge.greedy([*PROMPT, 700 + number], 20) or (
            judge.doubt([*PROMPT, 700 + number], answer) < NEAR
        )


def test_branches_beyond_the_limit_are_refused_all_or_none(tiny_phi3: Path) -> None:
    with Engine(tiny_phi3, SMALL.model_copy(update={"max_waiting": 8, "n_sequences": 1})) as engine:
        running = engine.complete(Request(PROMPT, GREEDY, 460))
        next(iter(running))
        waiting = engine.fork(Request(PROMPT, GREEDY, 4), 5)
        with pytest.raises(EngineBusyError, match=r"5 requests are waiting.*4 more.*limit is 8"):
            engine.fork(Request(PROMPT, GREEDY, 4), 4)
        assert engine.stats().waiting == 5
        waiting += engine.fork(Request(PROMPT, GREEDY, 4), 3)
        running.cancel()
        assert [len(tokens) for tokens in read(waiting)[1]] == [4] * 8
        with pytest.raises(EngineBusyError):
            engine.fork(Request(PROMPT, GREEDY, 4), 9)
        assert is_idle(engine)
    with pytest.raises(EngineClosedError):
        engine.fork(Request(PROMPT, GREEDY, 4), 2)


@pytest.mark.parametrize("gone", [0, 3])
def test_dropping_one_branch_leaves_the_others(engine: Engine, judge: Judge, gone: int) -> None:
    beginnings = [(700 + n,) for n in range(6)]
    answers: list[Completion | None] = [*engine.fork(Request(PROMPT, GREEDY, 60), beginnings)]
    wait_until(lambda: engine.stats().running == 6)
    answers[gone] = None
    gc.collect()
    wait_until(lambda: engine.stats().running <= 5)
    for beginning, answer in zip(beginnings, answers, strict=True):
        if answer:
            text = "".join(answer)
            assert answer.ended
            assert text == judge.text(answer.ended.tokens)
            assert answer.ended.usage.generated_tokens == 60
            assert judge.doubt([*PROMPT, *beginning], answer.ended.tokens) < NEAR


# ---- prompts with a common beginning ----


def test_requests_that_begin_alike_read_the_beginning_once(engine: Engine) -> None:
    family = tuple(300 + i * 7 % 500 for i in range(300))
    _, _, usages = read([engine.complete(Request((*family, 900 + n), GREEDY, 5)) for n in range(8)])
    assert sum(usage.evaluated_tokens for usage in usages) <= 300 + 2 * 8


def test_they_read_it_once_though_the_first_reader_is_cancelled_in_the_middle(engine: Engine, judge: Judge) -> None:
    family = tuple(300 + i * 7 % 500 for i in range(400))
    engine.load()
    answers = [engine.complete(Request((*family, 900 + n), GREEDY, 5)) for n in range(4)]
    wait_until(lambda: engine.stats().cells_used >= 64)
    answers[0].cancel()
    _, tokens, usages = read(answers)
    assert sum(usage.evaluated_tokens for usage in usages) <= 400 + 64 + 2 * 4  # a batch may have been lost
    for number, answer in enumerate(tokens[1:], 1):
        assert judge.doubt((*family, 900 + number), answer) < NEAR


def test_a_short_common_beginning_makes_nobody_wait(engine: Engine) -> None:
    long = engine.complete(Request((*PROMPT[:15], *[7] * 450), GREEDY, 5))
    short = engine.complete(Request((*PROMPT[:15], 8), GREEDY, 5))
    assert short.ahead <= 2
    list(short)
    assert len("".join(long)) > 0
    assert short.usage
    assert short.usage.generated_tokens == 5


def test_background_work_waits_for_a_person_who_reads_the_same(engine: Engine) -> None:
    family = tuple(300 + i * 7 % 500 for i in range(400))
    person = engine.complete(Request((*family, 5), GREEDY, 5))
    background = engine.complete(Request((*family, 6), GREEDY, 5, priority=Priority.BACKGROUND))
    _, _, usages = read([person, background])
    assert [usage.evaluated_tokens for usage in usages] == [401, 1]
