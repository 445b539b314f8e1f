"""Random mixes of requests on the random model: every stream is what the request gets alone.

Prompts share beginnings, answers are cancelled, dropped and stopped, the cache is too small for all of them, and the
engine lives on from one mix to the next with what earlier ones left in its cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest
from engine_tools import GREEDY, NEAR, SMALL, Judge, is_idle, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from phireside.models.engine import Completion, Engine, Priority, Request

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


@pytest.fixture(scope="module")
def crowded(tiny_phi3: Path) -> Iterator[Engine]:
    with Engine(tiny_phi3, CROWDED) as engine:
        yield engine


@pytest.fixture(scope="module")
def counts(request: pytest.FixtureRequest) -> Iterator[dict[str, int]]:
    counts = {"answers": 0, "near-ties": 0}
    yield counts
    print(f"\nrequest mixes: {counts['near-ties']} near-ties in {counts['answers']} answers")
    assert counts["near-ties"] <= counts["answers"] / 10  # else the judge excuses too much


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
