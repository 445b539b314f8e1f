"""Random mixes of requests on the random model: every stream is what the request gets alone.

Prompts share beginnings, answers are cancelled, dropped and stopped, the cache is too small for all of them, and the
engine lives on from one mix to the next with what earlier ones left in its cache.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
from engine_tools import GREEDY, NEAR, SMALL, Judge, begin_scores, is_idle, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from phireside.models.engine import Completion, Engine, Event, Priority, Request, Sampling, Scored
from phireside.models.grammar import Grammar

pytestmark = pytest.mark.real

CROWDED = SMALL.model_copy(update={"n_ctx": 200, "cache_tokens": 420, "n_batch": 32, "n_sequences": 5})
FAMILIES = (tuple(range(300, 420)), tuple(range(300, 360)) + (5,) * 40, (1000,) * 50, (9, 8, 7))


@dataclass(frozen=True)
class Wish:
    """A request, and what its reader does: read to the end, or only `patience` pieces and then cancel, or go away."""

    prompt: tuple[int, ...]
    limit: int
    stop_at: int | None  # the stop string begins at this character of what the answer would be
    patience: int | None
    leaves: bool
    priority: Priority


prompts = st.builds(
    lambda family, length, tail: (*family[:length], *tail),
    st.sampled_from(FAMILIES),
    st.integers(1, 120),
    st.lists(st.integers(300, 304), max_size=8).map(tuple),
)
wishes = st.builds(
    Wish,
    prompts,
    st.integers(1, 40),
    st.none() | st.integers(0, 40),
    st.none() | st.integers(0, 20),
    st.booleans(),
    st.sampled_from(Priority),
)


@pytest.fixture(scope="module", params=[0, 4], ids=["no guesses", "guesses"])
def crowded(request: pytest.FixtureRequest, tiny_phi3: Path) -> Iterator[Engine]:
    with Engine(tiny_phi3, CROWDED.model_copy(update={"draft_tokens": request.param})) as engine:
        yield engine


class Alone:
    """What requests get from an engine that serves nobody else."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._known = engine, {}

    def tokens(self, request: Request) -> tuple[int, ...]:
        key = (request.tokens, request.sampling, request.max_tokens, request.grammar, request.begun)
        if key not in self._known:
            answer = self._engine.complete(request)
            "".join(answer)
            assert answer.ended
            self._known[key] = answer.ended.tokens
        return self._known[key]


@pytest.fixture(scope="module")
def alone(tiny_phi3: Path) -> Iterator[Alone]:
    with Engine(tiny_phi3, SMALL.model_copy(update={"n_ctx": CROWDED.n_ctx})) as engine:
        yield Alone(engine)


@pytest.fixture(scope="module")
def counts(request: pytest.FixtureRequest) -> Iterator[dict[str, int]]:
    counts = {"answers": 0, "near-ties": 0}
    yield counts
    print(f"\nrequest mixes: {counts['near-ties']} near-ties in {counts['answers']} answers")
    assert counts["near-ties"] <= counts["answers"] / 10  # else the judge excuses too much


# ---- plain answers ----


@given(st.lists(wishes, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_every_greedy_stream_equals_the_same_request_alone(
    crowded: Engine, judge: Judge, counts: dict[str, int], mix: list[Wish]
) -> None:
    asked = []
    for wish in mix:  # all at once, read one after another
        alone = judge.greedy(wish.prompt, wish.limit)
        at = wish.stop_at
        stop = () if at is None else (judge.text(alone)[at : at + 5] or "never there",)
        request = Request(wish.prompt, GREEDY, wish.limit, stop, wish.priority)
        asked.append((wish, request, alone, crowded.complete(request)))
    while asked:
        check(judge, counts, *asked.pop(0))
    wait_until(lambda: is_idle(crowded))
    assert crowded.stats().cells_used <= CROWDED.cache_tokens


def check(
    judge: Judge, counts: dict[str, int], wish: Wish, request: Request, alone: list[int], answer: Completion
) -> None:
    """Read as the wish says; what was heard is what the request gets alone, or its beginning."""
    pieces = list(islice(answer, wish.patience)) if wish.patience is not None else []
    if wish.patience is not None and wish.leaves:
        return  # the answer is dropped, read in part or not at all
    if wish.patience is not None:
        answer.cancel()
    text = "".join([*pieces, *answer])
    assert answer.ended
    usage, tokens = answer.ended.usage, answer.ended.tokens
    counts["answers"] += 1
    if list(tokens) != alone[: len(tokens)]:  # the two ways part: at a near-tie, or this is a wrong text
        counts["near-ties"] += 1
        assert judge.doubt(wish.prompt, tokens) < NEAR
        alone = list(tokens)
    expected = judge.text(alone, request.stop)
    if usage.finish_reason == "cancelled":
        assert wish.patience is not None
        # Cut off anywhere, be it within a character or in what might have become a stop string.
        assert judge.text(alone).startswith(text.rstrip("\ufffd"))
        assert not any(s in text for s in request.stop)
    else:
        assert text == expected
        assert (usage.finish_reason == "stop") == (
            len(tokens) < wish.limit or any(s in judge.text(alone) for s in request.stop)
        )
    assert usage.generated_tokens == len(tokens) <= wish.limit
    assert usage.cached_tokens + usage.evaluated_tokens <= usage.prompt_tokens == len(wish.prompt)


# ---- all kinds of requests at once ----

FEW = Sampling(temperature=1.0, top_k=3, top_p=1.0, min_p=0.0, seed=1)
RECORD = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "size": {"type": "integer"}, "colour": {"enum": ["red", "green"]}},
    "required": ["name", "size", "colour"],
    "additionalProperties": False,
}
GRAMMARS = (
    None,
    Grammar.choice(["yes", "no", "perhaps not", "perhaps"]),
    Grammar.json(RECORD),
    Grammar.regex("[a-z]{3,9}(, [a-z]{3,9}){1,4}"),
    Grammar.lark('start: "(" start ")" | /[0-9]+/'),
)


@dataclass(frozen=True)
class Fork:
    """Several answers to a prompt, of which some are left after `patience` pieces."""

    prompt: tuple[int, ...]
    limit: int
    branches: int | tuple[tuple[int, ...], ...]
    sampling: Sampling
    grammar: Grammar | None
    left: frozenset[int]
    patience: int
    priority: Priority


@dataclass(frozen=True)
class Scores:
    prompt: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]
    cancelled: bool


some_tokens = st.lists(st.integers(300, 304), max_size=4).map(tuple)
forks = st.builds(
    Fork,
    prompts,
    st.integers(30, 60),
    st.integers(1, 4),
    st.sampled_from([GREEDY, FEW]),
    st.sampled_from(GRAMMARS),
    st.frozensets(st.integers(0, 3), max_size=2),
    st.integers(0, 5),
    st.sampled_from(Priority),
) | st.builds(
    Fork,
    prompts,
    st.integers(1, 30),
    st.lists(some_tokens, min_size=1, max_size=4).map(tuple),
    st.just(GREEDY),
    st.none(),
    st.frozensets(st.integers(0, 3), max_size=2),
    st.integers(0, 5),
    st.sampled_from(Priority),
)
scores = st.builds(
    Scores,
    prompts,
    st.lists(st.lists(st.integers(300, 310), min_size=1, max_size=20).map(tuple), min_size=1, max_size=8).map(tuple),
    st.booleans(),
)


@given(st.lists(forks | scores, min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_forks_grammars_and_scores_are_what_each_gets_alone(
    crowded: Engine, alone: Alone, judge: Judge, counts: dict[str, int], mix: list[Fork | Scores]
) -> None:
    forked: list[tuple[Fork, list[Request], list[Completion]]] = []
    scored: list[tuple[Scores, Future[Event]]] = []
    for wish in mix:
        if isinstance(wish, Scores):
            job, heard = begin_scores(crowded, wish.prompt, wish.continuations)
            scored.append((wish, heard))
            if wish.cancelled:
                job.cancel()
        else:
            request = Request(wish.prompt, wish.sampling, wish.limit, priority=wish.priority, grammar=wish.grammar)
            several = isinstance(wish.branches, int)
            requests = request.samples(wish.branches) if several else request.branches(wish.branches)
            forked.append((wish, requests, crowded.fork(request, wish.branches)))
    for wish, requests, answers in forked:
        for number in sorted(wish.left):
            if number < len(answers):
                list(islice(answers[number], wish.patience))
                answers[number].cancel()
        for request, answer in zip(requests, answers, strict=True):
            check_fork(crowded, alone, judge, counts, request, answer)
    for wish, heard in scored:
        check_scores(judge, wish, heard.result(60))
    wait_until(lambda: is_idle(crowded))
    assert crowded.stats().cells_used <= CROWDED.cache_tokens


def check_fork(
    crowded: Engine, alone: Alone, judge: Judge, counts: dict[str, int], request: Request, answer: Completion
) -> None:
    """The tokens are those of the same request alone, or its beginning; a grammar's text is always one of its own.

    Where greedy ones differ, the judge says whether two logits were that close; draws, and choices under a grammar, are
    counted.
    """
    "".join(answer)
    assert answer.ended
    usage, tokens = answer.ended.usage, answer.ended.tokens
    expected = alone.tokens(request)
    cancelled = usage.finish_reason == "cancelled"
    counts["answers"] += 1
    differs = tokens != (expected[: len(tokens)] if cancelled else expected)
    counts["near-ties"] += differs
    if differs and request.sampling == GREEDY and not request.grammar:
        assert judge.doubt(request.tokens, tokens) < NEAR
    assert usage.generated_tokens == len(tokens) <= request.max_tokens
    assert usage.accepted_tokens <= usage.drafted_tokens
    assert usage.forced_tokens <= (usage.generated_tokens if request.grammar else 0)
    assert usage.restored_tokens == 0
    if request.grammar:
        matcher = request.grammar.matcher(crowded.vocabulary.guide, request.max_tokens)
        matcher.consume(tokens)
        assert cancelled or matcher.accepting
    else:
        assert cancelled or len(tokens) == request.max_tokens


def check_scores(judge: Judge, wish: Scores, event: Event) -> None:
    if wish.cancelled and getattr(event, "scores", ()) == ():
        assert event.usage.finish_reason == "cancelled"
        return
    assert isinstance(event, Scored)
    for score, tokens in zip(event.scores, wish.continuations, strict=True):
        assert score.logprob == pytest.approx(judge.logprob(wish.prompt, tokens), abs=NEAR * len(tokens))
