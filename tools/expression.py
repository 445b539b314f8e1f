"""What the calculator reads: an expression becomes a list of steps for a stack, the last operand on top.

Recursive descent (Aho, Sethi, Ullman: Compilers, chapter 2.4) over a closed set of words. Nothing is looked up but in
the tables here and in `units`, and nothing is worked out. Python's `ast` would not do: no units, percents or dates.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import NoReturn

from phireside.errors import ToolError
from phireside.tools.units import KNOWN, Powers

MAX_LENGTH, MAX_DEPTH, MAX_DIGITS = 2000, 40, 50  # characters; nested operations; digits of one number

# Each with the fewest and the most operands that it takes.
FUNCTIONS = {
    "sqrt": (1, 1), "abs": (1, 1), "floor": (1, 1), "ceil": (1, 1), "round": (1, 2), "ln": (1, 1), "log10": (1, 1),
    "log": (2, 2), "exp": (1, 1), "sin": (1, 1), "cos": (1, 1), "tan": (1, 1),
    "min": (1, 50), "max": (1, 50), "sum": (1, 50), "mean": (1, 50),
}  # fmt: skip
CONSTANTS = {
    "pi": "3.1415926535897932384626433832795028841971693993751058",
    "e": "2.7182818284590452353602874713526624977572470936999596",
}
SPANS = ("days", "weeks", "months", "years")
OPERATORS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "//": "floor divide", "%": "modulo"}

_TOKEN = re.compile(
    r"""\s*(?: (?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9]))
    | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
    | (?P<word>°?[A-Za-z_][A-Za-z_0-9]*) | (?P<sign>\*\*|//|[-+*/%(),]) | (?P<end>\Z) )""",
    re.VERBOSE | re.ASCII,
)
_SAME = str.maketrans({"\u00d7": "*", "\u00f7": "/", "\u2212": "-", "^": "**"})  # times, divided by, minus
_LINKS = ("of", "in", "to", "and")
_HINT = 'Write an expression such as "2249 * 0.85", "15% of 80" or "3 km in miles": no currencies, no 1,000.'


@dataclass(frozen=True, slots=True)
class Step:
    """Put a value on the stack, or with an operation, replace the last `count` values there by its result.

    Args:
        operation: "" for a value, else a function's or an operator's name.
        count: how many values it takes.
        value: a number as it was written, or a date.
        powers: the units of the operations "measure" and "convert".
    """

    operation: str = ""
    count: int = 0
    value: str | date = ""
    powers: Powers = field(default_factory=dict)


def steps(expression: str) -> list[Step]:
    """The steps that work an expression out.

    Raises:
        ToolError: it is no expression, or a large one.
    """
    if len(expression) > MAX_LENGTH:
        raise ToolError(
            f"The expression has {len(expression)} characters, more than {MAX_LENGTH}.", hint="Work it out in parts."
        )
    return _Parser(expression.translate(_SAME)).parse()


def _tokens(text: str) -> list[tuple[str, str]]:
    """Kinds and texts; the last kind is "end"."""
    found: list[tuple[str, str]] = []
    at = 0
    while not found or found[-1][0] != "end":
        if (match := _TOKEN.match(text, at)) is None:
            raise ToolError(f"The calculator does not know {text[at:].lstrip()[:1]!r}.", hint=_HINT)
        kind = str(match.lastgroup)
        found.append((kind, match[kind]))
        at = match.end()
    return found


class _Parser:
    """One method for each level of precedence, the lowest first."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at, self.depth = 0, 0
        self.steps: list[Step] = []

    @property
    def kind(self) -> str:
        return self.tokens[self.at][0]

    @property
    def token(self) -> str:
        return self.tokens[self.at][1]

    def fail(self) -> NoReturn:
        if self.kind == "end":
            raise ToolError("The expression is not complete.", hint=_HINT)
        raise ToolError(f"{self.token[:40]!r} does not belong there.", hint=_HINT)

    def take(self, *texts: str) -> str:
        """The token, if it is one of these."""
        if self.kind not in ("sign", "word") or self.token not in texts:
            return ""
        self.at += 1
        return self.tokens[self.at - 1][1]

    def need(self, text: str) -> None:
        if not self.take(text):
            self.fail()

    def parse(self) -> list[Step]:
        self.sum()
        if self.take("in", "to"):
            self.steps.append(Step("convert", 1, powers=self.units()))
        if self.kind != "end":
            self.fail()
        return self.steps

    def sum(self) -> None:
        self.chain(self.product, "+", "-")

    def product(self) -> None:
        self.chain(self.signed, "*", "/", "//", "%")

    def chain(self, operand: Callable[[], None], *signs: str) -> None:
        operand()
        while sign := self.take(*signs):
            operand()
            self.steps.append(Step(OPERATORS[sign], 2))

    def signed(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ToolError(
                f"More than {MAX_DEPTH} brackets, signs or powers stand inside one another.",
                hint="Work it out in parts.",
            )
        if sign := self.take("-", "+"):
            self.signed()
            self.steps += [Step("negate", 1)] if sign == "-" else []
        else:
            self.power()
        self.depth -= 1

    def power(self) -> None:
        self.operand()
        if sign := self.take("**", "of"):
            self.signed()
            self.steps.append(Step("power" if sign == "**" else "of", 2))

    def operand(self) -> None:
        if self.kind == "date":
            self.day()
        elif self.kind == "word":
            self.word()
        else:
            self.number()

    def number(self) -> None:
        """A number or a bracket, with the unit or the percent sign behind it."""
        if self.take("("):
            self.sum()
            self.need(")")
        elif self.kind == "number":
            self.value(self.token)
            self.at += 1
        else:
            self.fail()
        if self.is_unit(self.at):
            self.steps.append(Step("measure", 1, powers=self.units()))
        elif not self.divides() and self.take("%"):
            self.steps.append(Step("percent", 1))

    def divides(self) -> bool:
        """Whether a percent sign is a modulo: in `17 % 5`, but not in `15% of 80`, `80 + 15%` or `15% - 3`."""
        kind, text = self.tokens[min(self.at + 1, len(self.tokens) - 1)]
        return kind in ("number", "date") or text == "(" or (kind == "word" and text not in _LINKS)

    def value(self, number: str) -> None:
        mantissa = number.lower().partition("e")[0]
        if (digits := len(mantissa.replace(".", "").lstrip("0"))) > MAX_DIGITS:
            raise ToolError(f"A number has {digits} digits, more than {MAX_DIGITS}.", hint="Round it.")
        self.steps.append(Step(value=number))

    def day(self) -> None:
        try:
            found = date.fromisoformat(self.token if self.kind == "date" else "")
        except ValueError:
            raise ToolError(f"{self.token[:40]!r} is not a date.", hint='Write one as "2024-03-01".') from None
        self.at += 1
        self.steps.append(Step(value=found))

    def word(self) -> None:
        """A function, a constant, the time between two dates, or a unit that stands for one of it: `100 km / h`."""
        word, after = self.token, self.tokens[self.at + 1][1]
        if word in FUNCTIONS and after == "(":
            self.function()
        elif word in CONSTANTS:
            self.at += 1
            self.steps.append(Step(value=CONSTANTS[word]))
        elif word in SPANS and after == "between":
            self.at += 2
            self.day()
            self.need("and")
            self.day()
            self.steps.append(Step(f"{word} between", 2))
        elif word in KNOWN:
            self.steps += [Step(value="1"), Step("measure", 1, powers=self.units())]
        else:
            self.fail()

    def function(self) -> None:
        name = self.token
        self.at += 2
        count = 1
        self.sum()
        while self.take(","):
            self.sum()
            count += 1
        self.need(")")
        fewest, most = FUNCTIONS[name]
        if not fewest <= count <= most:
            wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise ToolError(f"{name} takes {wanted} numbers, but there are {count}.", hint=_HINT)
        self.steps.append(Step(name, count))

    def is_unit(self, at: int) -> bool:
        """Whether a token is a unit, and not the function `min(`."""
        kind, token = self.tokens[at]
        return kind == "word" and token in KNOWN and self.tokens[at + 1][1] != "("

    def units(self) -> Powers:
        """Units with signs between them: `miles`, `km/h`, `kg*m/s**2`."""
        powers: dict[str, int] = {}
        sign = "*"
        while sign:
            if not self.is_unit(self.at):
                self.fail()
            word = self.token
            self.at += 1
            power = self.exponent()
            powers[word] = powers.get(word, 0) + (power if sign == "*" else -power)
            sign = self.take("*", "/") if self.token in ("*", "/") and self.is_unit(self.at + 1) else ""
        return powers

    def exponent(self) -> int:
        if not self.take("**"):
            return 1
        if self.kind != "number" or not re.fullmatch("[1-9][0-9]?", self.token):
            raise ToolError(f"{self.token[:40]!r} is no exponent of a unit.", hint='Write "m**2" or "m**3".')
        self.at += 1
        return int(self.tokens[self.at - 1][1])
