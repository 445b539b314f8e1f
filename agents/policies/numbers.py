"""The numbers that a conversation speaks of, and the calculations that can be built from a question's.

A number is digits with an optional part behind the point; thousands may be set off by commas. Numbers in words are not
seen ("three", "half").
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import combinations, permutations

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

_NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,9})?(?![\d])")


def numbers_in(text: str) -> list[str]:
    """The numbers of a text in its order, without commas; one that stands there twice comes twice."""
    return [found.replace(",", "") for found in _NUMBER.findall(text)]


def known_numbers(messages: Sequence[BaseMessage]) -> list[str]:
    """The numbers that a person wrote or a tool gave, each once."""
    given = [each for each in messages if isinstance(each, HumanMessage | ToolMessage)]
    return list(dict.fromkeys(number for each in given for number in numbers_in(each.text)))


def calculations(numbers: Sequence[str]) -> list[str]:
    """Sums, differences, products and quotients of two of the numbers, and sums and differences of three.

    Left out are those that count nothing: differences below zero, and quotients that do not come out even.

    Args:
        numbers: as `numbers_in` has them; one that is there twice can be used twice.
    """
    return list(dict.fromkeys([*_of_two(numbers), *_of_three(numbers)]))


def _of_two(numbers: Sequence[str]) -> Iterator[str]:
    for a, b in dict.fromkeys(combinations(numbers, 2)):
        yield from (f"{a} + {b}", f"{a} * {b}")
    for a, b in dict.fromkeys(permutations(numbers, 2)):
        if Decimal(a) > Decimal(b):
            yield f"{a} - {b}"
            if Decimal(b) > 1 and Decimal(a) % Decimal(b) == 0:
                yield f"{a} / {b}"


def _of_three(numbers: Sequence[str]) -> Iterator[str]:
    for three in dict.fromkeys(combinations(numbers, 3)):
        a, b, c = three
        yield f"{a} + {b} + {c}"
        for x, y, z in ((a, b, c), (a, c, b), (b, c, a)):
            if Decimal(x) + Decimal(y) >= Decimal(z):
                yield f"{x} + {y} - {z}"
        for x, y, z in ((a, b, c), (b, a, c), (c, a, b)):
            if Decimal(x) >= Decimal(y) + Decimal(z):
                yield f"{x} - {y} - {z}"
