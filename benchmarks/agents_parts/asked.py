"""What an arm of benchmarks/agents.py did with one question, and the sums over many. Knows nothing of models."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from agents_parts.questions import Question, only_number
from reasoning_parts.shared import mean
from reasoning_parts.svamp import found

from phireside.agents.scenarios.interval import wilson


@dataclass(frozen=True)
class Asked:
    """One run of an agent.

    Args:
        answer: its last text.
        observations: of the tools that ran, errors left out.
        steps: calls of the model.
        malformed: of them, those that were neither a call that fits a tool nor an answer with some text.
        written: tokens.
        evaluated: tokens of prompts, without those that were in the cache.
        seconds: all of it.
        ended: with an answer, and not at a limit without one.
        excess: of each step after the first, tokens that it evaluated beyond those that were new; None: not known.
    """

    answer: str
    observations: Sequence[str]
    steps: int
    malformed: int
    written: int
    evaluated: int
    seconds: float
    ended: bool = True
    excess: Sequence[int] | None = None


def entry(question: Question, asked: Asked | None, error: str) -> dict[str, Any]:
    """What is kept of a run: see `Asked`, and what of it was right. `error`: there was none, because of this."""
    if asked is None:
        return {"question": question.name, "error": error}
    numbers = [only_number(each) for each in asked.observations]
    return asdict(asked) | {
        "question": question.name,
        "error": error,
        "called": bool(asked.observations),
        "reached": question.answer in numbers,
        "right": found_number(asked.answer) == question.answer,
    }


def found_number(text: str) -> Decimal | None:
    """See `found`; a text with a number of thousands of digits has none."""
    number = found(text)
    return number if number is None or number.adjusted() < 100 else None


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        name: of the arm.
        entries: see `entry`.
    """

    name: str
    entries: Sequence[dict[str, Any]]

    def __str__(self) -> str:
        done = [each for each in self.entries if not each["error"]]
        total = len(self.entries)
        right = self.count("right")
        low, high = wilson(right, total)
        excess = [more for each in done for more in each["excess"] or []]
        cells = [
            self.name,
            str(total),
            f"{sum(each['malformed'] for each in done)} of {sum(each['steps'] for each in done)}",
            str(self.count("called")),
            str(self.count("reached")),
            f"{right} = {right / total:.1%} ({low:.1%}-{high:.1%})",
            f"{mean([each['evaluated'] for each in done]):.0f} + {mean([each['written'] for each in done]):.0f}",
            f"{mean([each['seconds'] for each in done]):.1f}",
            str(total - self.count("ended")),
            f"{max(excess)} ({len(excess)} measured)" if excess else "- (0 measured)",
        ]
        return f"| {' | '.join(cells)} |"

    def count(self, what: str) -> int:
        """How many runs."""
        return sum(bool(each.get(what)) for each in self.entries)


HEAD = (
    "| arm | n | malformed steps | calculator called | right observation | right answer (95 %) | tokens read + written"
    " | seconds | no end | read again, at most |\n" + "|---" * 10 + "|"
)


def table(entries: Sequence[dict[str, Any]], arms: Sequence[str]) -> str:
    """A line for each arm that has entries."""
    groups = {arm: [each for each in entries if each["arm"] == arm] for arm in arms}
    return "\n".join([HEAD, *(str(Row(arm, group)) for arm, group in groups.items() if group)])
