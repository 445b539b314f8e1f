"""Whether arguments of a call are those that a scenario means, and which numbers stand in a text."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from phireside.agents.scenarios.patterns import found
from phireside.agents.scenarios.schema import Call, pattern_of

_NUMBER = re.compile(r"(?:(?<![\w.])-)?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,3})?")


def matches(wanted: Mapping[str, Any], arguments: Mapping[str, Any]) -> bool:
    """Whether every argument that is named is as wanted; others do not matter.

    Args:
        wanted: a value, or a pattern: {contains: …}, {regex: …} or {number: …}. Texts are compared without regard to
            capitals and to how many spaces there are.
        arguments: of the call.

    Raises:
        ToolError: a regular expression took too long.
    """
    return all(name in arguments and _like(value, arguments[name]) for name, value in wanted.items())


def _like(wanted: Any, value: Any) -> bool:
    pattern = pattern_of(wanted)
    if pattern is None:
        return _same(wanted, value)
    kind, expected = pattern
    if kind == "contains":
        return folded(str(expected)) in folded(str(value))
    if kind == "regex":
        return found(str(expected), str(value))
    return any(abs(each - Decimal(str(expected))) <= Decimal("1e-6") for each in numbers(str(value)))


def _same(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, str) and isinstance(value, str):
        return folded(wanted) == folded(value)
    return bool(wanted == value) and isinstance(wanted, bool) == isinstance(value, bool)


def folded(text: str) -> str:
    """A text for comparison: without capitals, and with single spaces."""
    return " ".join(text.casefold().split())


def numbers(text: str) -> list[Decimal]:
    """The numbers that stand in a text, as people write them: 1,911.65."""
    return [Decimal(each.replace(",", "")) for each in _NUMBER.findall(text)]


def same_calls(wanted: Sequence[Call], ran: Sequence[tuple[str, Mapping[str, Any]]], order: str) -> bool:
    """Whether the calls that ran are those that are wanted.

    Args:
        wanted: tools with what is asked of their arguments.
        ran: tools with their arguments.
        order: strict, unordered, subset (none ran but wanted ones) or superset (all wanted ones ran).
    """
    fits = [[call.tool == name and matches(call.arguments, given) for name, given in ran] for call in wanted]
    if order == "strict":
        return len(wanted) == len(ran) and all(fits[at][at] for at in range(len(ran)))
    if order == "unordered" and len(wanted) != len(ran):
        return False
    paired = _pairs(fits)
    return paired == (len(ran) if order == "subset" else len(wanted))


def _pairs(fits: Sequence[Sequence[bool]]) -> int:
    """How many can be paired at most (Kuhn 1955): a loose pattern leaves a strict one the only call that fits it."""
    partner: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for column, fit in enumerate(fits[row]):
            if fit and column not in tried:
                tried.add(column)
                if column not in partner or place(partner[column], tried):
                    partner[column] = row
                    return True
        return False

    return sum(place(row, set()) for row in range(len(fits)))
