"""SVAMP (Patel et al. 2021): grade-school problems with a number as the answer, each asked in several ways.

Ours: the answer at once, chain of thought, self-consistency with 5 and 15 paths, tree of thought; the answer is decoded
under a grammar. Peer: `ChatLlamaCpp` in the plain LangChain way, one call after another, the answer found in the text
by a regular expression; its self-consistency of 5 is the first five of its 15 samples.

The sides differ in more than the engine. At once: both get the bare question; ours has to say "The answer is" and a
number, in 32 tokens at most; the peer writes freely, up to `--max-tokens`, and may reason in that. Chain of thought and
samples: both get the book's example, the question, one temperature and `--max-tokens` for the text; ours is then asked
for the answer in a second call, whose tokens count too.

Each problem is asked in all ways before the next one, beginning with another way each time. A tree's tokens are those
of its steps and answers: its ratings write none. A rating's prompt counts as evaluated, though the engine finds most of
it in its cache: scores do not say how much.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from collections import Counter as Votes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import take_turns
from reasoning_parts.shared import Row, mean, ours, peer

if TYPE_CHECKING:
    from chat_turns import Counter
    from langchain_core.messages import BaseMessage

    from phireside.chains import Cost

NUMBER = r"-?\d[\d,]*(?:\.\d+)?"
SAID = re.compile(rf"answer is:? ?\$?({NUMBER})", re.IGNORECASE)
TREE = {"depth": 2, "width": 2, "branches": 3, "step_tokens": 32}
SAMPLES, FEWER = 15, 5
ONE_BY_ONE = "ChatLlamaCpp, {} samples one by one"


@dataclass(frozen=True)
class Tried:
    """A problem asked in one way: the value that was understood, and what it cost."""

    value: Decimal | None
    tokens: int
    evaluated: int
    seconds: float


Way = Callable[[str], list[Tried]]  # a question; several results where one run is counted in several rows


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """One row for each way, when all problems have been asked."""
    problems = read(options.data / "svamp-150.json")[: options.rows]
    ways = our_ways(options) | peer_ways(options)
    arms = {names: partial(_ask, names, way, problems) for names, way in ways.items()}
    tried = take_turns(arms, len(problems))
    for names in ways:
        for number, name in enumerate(names.split(" + ")):
            yield summary(name, [each[names][number] for each in tried], [answer for _, answer in problems])


def read(path: Path) -> list[tuple[str, Decimal]]:
    """Questions and answers of the file."""
    data = json.loads(path.read_text())
    return [(f"{each['Body'].rstrip(' .')}. {each['Question']}", Decimal(str(each["Answer"]))) for each in data]


def summary(name: str, tried: Sequence[Tried], answers: Sequence[Decimal]) -> Row:
    """How many were right, and the averages."""
    right = sum(one.value == answer for one, answer in zip(tried, answers, strict=True))
    unread = sum(one.value is None for one in tried)
    more: dict[str, Any] = {"evaluated": round(mean([one.evaluated for one in tried]))}
    if unread:
        more["no number found"] = unread
    tokens, seconds = mean([one.tokens for one in tried]), mean([one.seconds for one in tried])
    return Row("svamp", name, right, len(tried), tokens, seconds, more)


def _ask(name: str, way: Way, problems: Sequence[tuple[str, Decimal]], number: int) -> list[Tried]:
    tried = way(problems[number][0])
    print(f"  problem {number + 1} of {len(problems)}, {name}: {tried[-1].seconds:.1f} s", file=sys.stderr, flush=True)
    return tried


# ---- ours -----------------------------------------------------------------------------------------------------------


def our_ways(options: argparse.Namespace) -> dict[str, Way]:
    """The answer at once, and the chains."""
    from phireside.chains import chain_of_thought, self_consistency, tree_of_thought
    from phireside.chains.forms import number

    common: dict[str, Any] = {"model": ours(options), "form": number()}
    limit = {"max_tokens": options.max_tokens}
    chains = {
        "ours, chain of thought": chain_of_thought(**common, **limit, temperature=0),
        f"ours, self-consistency of {FEWER}": self_consistency(FEWER, **common, **limit),
        f"ours, self-consistency of {SAMPLES}": self_consistency(SAMPLES, **common, **limit),
        "ours, tree of thought": tree_of_thought(**common, **TREE),
    }
    direct: dict[str, Way] = {"ours, at once: 'The answer is N' only": partial(_at_once, common["model"])}
    return direct | {name: partial(_by_chain, chain) for name, chain in chains.items()}


def _at_once(model: Any, question: str) -> list[Tried]:
    from langchain_core.messages import HumanMessage

    from phireside.chains.forms import ask, number
    from phireside.chains.paths import said

    form = said(number(), "The answer is ")
    begun = time.perf_counter()
    decoded = asyncio.run(ask(model, [HumanMessage(question)], form, temperature=0, max_tokens=32))
    return [_tried(decoded.value, decoded.cost, begun)]


def _by_chain(chain: Any, question: str) -> list[Tried]:
    begun = time.perf_counter()
    result = chain.invoke(question)
    return [_tried(result.answer, result.cost, begun)]


def _tried(value: Decimal, cost: "Cost", begun: float) -> Tried:
    return Tried(value, cost.generated_tokens, cost.evaluated_tokens, time.perf_counter() - begun)


# ---- the peer -------------------------------------------------------------------------------------------------------


def peer_ways(options: argparse.Namespace) -> dict[str, Way]:
    """The same problems, put to `ChatLlamaCpp`."""
    from chat_turns import Counter

    from phireside.chains.prompt_files import load_prompts

    model = peer(options, max_tokens=options.max_tokens)
    counter = Counter(model.client)
    shown = load_prompts("chain_of_thought").messages("examples")
    several = " + ".join(ONE_BY_ONE.format(count) for count in (FEWER, SAMPLES))
    return {
        "ChatLlamaCpp, at once: free text": partial(_call, model, counter, []),
        "ChatLlamaCpp, chain of thought": partial(_call, model, counter, shown),
        several: partial(_one_by_one, model, counter, shown),
    }


def _call(
    model: Any, counter: "Counter", shown: "Sequence[BaseMessage]", question: str, **sampling: Any
) -> list[Tried]:
    from langchain_core.messages import HumanMessage

    said: list[str] = []
    call = {"temperature": 0, **sampling}
    turn = counter.turn(lambda: said.append(model.invoke([*shown, HumanMessage(question)], **call).text))
    return [Tried(found(said[0]), turn.written, turn.evaluated, turn.seconds)]


def _one_by_one(model: Any, counter: "Counter", shown: "Sequence[BaseMessage]", question: str) -> list[Tried]:
    sampling = {"temperature": 0.7, "top_k": 40, "top_p": 0.95}  # ours; min_p is 0.05 on both sides
    calls = [_call(model, counter, shown, question, seed=seed, **sampling)[0] for seed in range(SAMPLES)]
    return [together(calls[:FEWER]), together(calls)]


def together(calls: Sequence[Tried]) -> Tried:
    """The majority of some calls, the earliest in a tie, and their sums."""
    votes = Votes(call.value for call in calls if call.value is not None).most_common(1)
    sums = [sum(getattr(call, name) for call in calls) for name in ("tokens", "evaluated", "seconds")]
    return Tried(votes[0][0] if votes else None, *sums)


def found(text: str) -> Decimal | None:
    """The number that the text gives as its answer: behind "answer is", or else the last one in it."""
    numbers = SAID.findall(text) or re.findall(NUMBER, text)
    return Decimal(numbers[-1].replace(",", "")) if numbers else None
