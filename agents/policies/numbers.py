"""The numbers that a conversation speaks of, and the calculations that can be built from a question's.

A number is digits with an optional part behind the point and power of ten (`7e3`); thousands may be set off by commas.
Digits of all scripts are read. Numbers in words are not seen ("three", "half"), nor are those of the marks around
strangers' text.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import combinations, permutations

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

from phireside.agents.policies.untrusted import unmarked

_NUMBER = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,15})(?:\.[0-9]{1,15})?|\.[0-9]{1,15})(?:[eE][+-]?[0-9])?(?![0-9])"
_PLAIN = re.compile(rf"(?<![\w.]){_NUMBER}")
_NEGATIVE = re.compile(rf"(?<![^\s(])[-\u2212]({_NUMBER})")
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_LITERAL = re.compile(r"(?<![\w.])(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def numbers_in(text: str) -> list[str]:
    """The numbers of a text in its order, without signs and commas; one that stands there twice comes twice."""
    return [_written(found) for found in _PLAIN.findall(_with_ascii_digits(text))]


def negatives_in(text: str) -> list[str]:
    """Those of the numbers that have a sign at the start, after a space or a bracket: "-5" is "5"."""
    return [_written(found) for found in _NEGATIVE.findall(_with_ascii_digits(text))]


def literals_in(expression: str) -> list[str]:
    """Whatever a calculation has that a calculator may read as a number, however long."""
    return _LITERAL.findall(_THOUSANDS.sub("", _with_ascii_digits(expression)))


def known_numbers(messages: Sequence[BaseMessage]) -> list[str]:
    """The numbers that a person wrote or a tool gave, each once."""
    return list(dict.fromkeys(number for text in _given(messages) for number in numbers_in(text)))


def known_negatives(messages: Sequence[BaseMessage]) -> list[str]:
    """Those of them that stood there with a sign, each once and without it."""
    return list(dict.fromkeys(number for text in _given(messages) for number in negatives_in(text)))


def _given(messages: Sequence[BaseMessage]) -> list[str]:
    return [unmarked(each.text) for each in messages if isinstance(each, HumanMessage | ToolMessage)]


def _with_ascii_digits(text: str) -> str:
    return "".join(str(int(each)) if each.isdecimal() else each for each in text)


def _written(found: str) -> str:
    return ("0" if found.startswith(".") else "") + found.replace(",", "")


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
