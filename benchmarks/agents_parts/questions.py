"""The questions of benchmarks/agents.py, each with the number that answers it. Knows nothing of agents."""

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from reasoning_parts.svamp import read

ARITHMETIC = (  # question, and the expression that answers it
    ("What is 17 * 23?", "17 * 23"),
    ("What is 144 divided by 12?", "144 / 12"),
    ("How much is 2249 times 0.85?", "2249 * 0.85"),
    ("What is 1234 + 5678?", "1234 + 5678"),
    ("What is 1000 minus 387?", "1000 - 387"),
    ("Add 12, 30 and 58.", "12 + 30 + 58"),
    ("What is 15% of 80?", "15% of 80"),
    ("What is the square root of 144?", "sqrt(144)"),
    ("Multiply 99 by 101.", "99 * 101"),
    ("What is 3.5 + 4.75?", "3.5 + 4.75"),
    ("Subtract 48 from 1024.", "1024 - 48"),
    ("How much is 7 times 8 plus 9?", "7 * 8 + 9"),
    ("What is 625 / 25?", "625 / 25"),
    ("What is 2 to the power of 10?", "2 ^ 10"),
    ("What is (14 + 6) * 5?", "(14 + 6) * 5"),
    ("What is 20% of 250?", "20% of 250"),
    ("What is 840 divided by 7?", "840 / 7"),
    ("How much is 0.1 + 0.2?", "0.1 + 0.2"),
    ("What is 365 * 24?", "365 * 24"),
    ("What is 10000 - 1?", "10000 - 1"),
)


@dataclass(frozen=True)
class Question:
    """A question.

    Args:
        name: "svamp 0" is the first of the file.
        text: what is asked.
        answer: the number.
    """

    name: str
    text: str
    answer: Decimal


def svamp(path: Path, first: int, count: int) -> list[Question]:
    """So many word problems of the file, from the one with this number on."""
    problems = read(path)[first : first + count]
    # "26 cookies.. How many" is the data's: it has a full stop too many in some places.
    return [Question(f"svamp {first + at}", text, answer) for at, (text, answer) in enumerate(problems)]


def arithmetic() -> list[Question]:
    """Those of this file."""
    from phireside.tools.arithmetic import evaluate

    return [
        Question(f"arithmetic {at}", text, Decimal(evaluate(expression)))
        for at, (text, expression) in enumerate(ARITHMETIC)
    ]


def only_number(text: str) -> Decimal | None:
    """The number that an observation is, with or without a unit; None if it is none."""
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)(?: [A-Za-z/ ]+)?", text.strip())
    return Decimal(match[1]) if match else None
