"""What the calculator works out: decimal numbers, percents, amounts with units, and dates.

Numbers have 50 significant digits and lie below 10**300; what had to be rounded, or has units, is shown with 15. `//`
and `%` go downwards as Python's do on whole numbers. Sine, cosine and tangent are those of double precision.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    Underflow,
    getcontext,
    localcontext,
)
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from dateutil.relativedelta import relativedelta

from phireside.errors import ToolError
from phireside.tools.expression import SPANS, Step, steps
from phireside.tools.units import converted, measure, reduced, words

if TYPE_CHECKING:
    from phireside.tools.units import Measure

DIGITS, SHOWN, LARGEST = 50, 15, 300  # significant digits; those of a rounded result; exponents of ten
_TRAPS = [DivisionByZero, InvalidOperation, Overflow, Underflow]
_SHORT = Context(prec=SHOWN)
_LONG = Context(prec=DIGITS + LARGEST, traps=_TRAPS)  # for rounding to a place, which is no loss
_PLACES = 15  # of sine, cosine and tangent
_LARGEST_ANGLE = 10**9  # radians: beyond it a double has not enough places


@dataclass(frozen=True, slots=True)
class Percent:
    """So many hundredths; a sum takes them of what they are added to."""

    amount: Decimal


Value: TypeAlias = "Decimal | Percent | date | Measure"


def evaluate(expression: str) -> str:
    """An expression's value, as text that is an expression again.

    Raises:
        ToolError: it is no expression, is too large, or has no value.
    """
    plan = steps(expression)
    with localcontext(Context(prec=DIGITS, Emax=LARGEST - 1, Emin=-LARGEST, traps=_TRAPS)):
        try:
            return _text(_run(plan))
        except Overflow:
            raise ToolError(f"A number is 10**{LARGEST} or larger.", hint="Use smaller numbers.") from None
        except Underflow:
            raise ToolError(f"A number is nearer to 0 than 10**-{LARGEST}.", hint="Use larger numbers.") from None
        except DivisionByZero:
            raise ToolError("A number is divided by 0.", hint="Check the numbers.") from None
        except DecimalException:
            raise ToolError(f"There is no such number with {DIGITS} digits.", hint="Check the numbers.") from None
        except (TypeError, ValueError, OverflowError) as error:  # pint's errors, and dates out of range
            reason = str(error).partition(". See")[0].rstrip(".")[:200]
            raise ToolError(f"That has no value: {reason}.", hint="Check the units and the dates.") from None


def _run(plan: list[Step]) -> Value:
    stack: list[Any] = []
    for step in plan:
        if not step.operation:
            found: Any = step.value if isinstance(step.value, date) else getcontext().create_decimal(step.value)
        else:
            stack, operands = stack[: -step.count], stack[-step.count :]
            with_units = _WITH_UNITS.get(step.operation)
            found = with_units(*operands, step.powers) if with_units else _OPERATIONS[step.operation](*operands)
        if _is_measure(found) and step.operation != "convert":
            found = reduced(found)
            found = found.magnitude if found.unitless else found
        if isinstance(found, Decimal) and not found.is_finite():  # ln(0) raises no signal
            raise InvalidOperation
        stack.append(found)
    return stack[0]  # type: ignore[no-any-return]


def _text(value: Value) -> str:
    if isinstance(value, date):
        return value.isoformat()
    if not _is_measure(value):
        return _digits(_number(value))
    amount = _digits(value.magnitude)
    return amount + words(type(value)(Decimal(amount), value.units))


def _digits(number: Decimal) -> str:
    exact = not getcontext().flags[Inexact]
    number = (number if exact else _SHORT.plus(number)).normalize()
    if -10 <= number.adjusted() < (DIGITS if exact else SHOWN + 1):
        return f"{number + 0:f}"  # no -0
    return f"{number:e}"


def _is_measure(value: Value) -> "TypeGuard[Measure]":
    return not isinstance(value, Decimal | Percent | date)  # without loading pint


def _number(value: Value) -> Decimal:
    value = _plain(value)
    if not isinstance(value, Decimal):
        raise TypeError(f"{_text(value)} stands where a plain number is needed")
    return value


def _plain(value: Any) -> Any:
    """Anything but a percent: that as a number."""
    return value.amount / 100 if isinstance(value, Percent) else value


def _add(left: Any, right: Any) -> Any:
    if isinstance(right, Percent):
        if isinstance(left, Percent):
            return Percent(left.amount + right.amount)
        return left * (1 + right.amount / 100)
    if isinstance(left, date) and _is_measure(right):
        return _shifted(left, right)
    if isinstance(right, date) and _is_measure(left):
        return _shifted(right, left)
    return _plain(left) + right


def _subtract(left: Any, right: Any) -> Any:
    if isinstance(left, date) and isinstance(right, date):
        return measure(Decimal((left - right).days), {"days": 1})
    return _add(left, right if isinstance(right, date) else _negate(right))


def _negate(value: Any) -> Any:
    return Percent(-value.amount) if isinstance(value, Percent) else -value


def _floor_divide(left: Value, right: Value) -> Decimal:
    a, b = _number(left), _number(right)
    quotient = a // b  # Decimal's goes towards 0
    return quotient - 1 if a % b and (a < 0) != (b < 0) else quotient


def _modulo(left: Value, right: Value) -> Decimal:
    a, b = _number(left), _number(right)
    rest = a % b
    return rest + b if rest and (a < 0) != (b < 0) else rest


def _power(base: Any, exponent: Value) -> Any:
    power = _number(exponent)
    if not _is_measure(base):
        return _number(base) ** power
    if power not in (1, 2, 3):
        raise ValueError("an amount with units has the powers 1, 2 and 3")
    return base ** int(power)


def _of(part: Value, whole: Any) -> Any:
    if not isinstance(part, Percent):
        raise TypeError('"of" needs a percent before it')
    return _plain(part) * _plain(whole)


def _rounded(rounding: str, value: Any, places: Value = Decimal()) -> Any:
    count = _number(places)
    if count not in range(DIGITS + 1):
        raise ValueError(f"a number is rounded to 0 to {DIGITS} places")
    if _is_measure(value):
        return type(value)(_rounded(rounding, value.magnitude, places), value.units)
    return _number(value).quantize(Decimal(1).scaleb(-int(count)), rounding, context=_LONG)


def _logarithm(value: Value, base: Value) -> Decimal:
    return _number(value).ln() / _number(base).ln()


def _trigonometric(function: Callable[[float], float], angle: Any) -> Decimal:
    radians = converted(angle, {"radians": 1}).magnitude if _is_measure(angle) else _number(angle)
    if abs(radians) > _LARGEST_ANGLE:
        raise ValueError(f"an angle is larger than {_LARGEST_ANGLE} radians")
    if function is math.tan and not round(math.cos(float(radians)), _PLACES):
        raise ValueError("this angle has no tangent")
    getcontext().flags[Inexact] = True
    return Decimal(repr(round(function(float(radians)), _PLACES)))


def _smallest(choose: Callable[..., Any], *values: Any) -> Any:
    return choose(map(_plain, values))


def _sum(*values: Any) -> Any:
    return reduce(_add, map(_plain, values))


def _measure(amount: Value, powers: dict[str, int]) -> Value:
    getcontext().flags[Inexact] = True  # pint keeps its rounded factors, and the next time nothing would tell of them
    return measure(_number(amount), powers)


def _convert(value: Value, powers: dict[str, int]) -> Value:
    if not _is_measure(value):
        raise TypeError(f"{_text(value)} has no unit")
    return converted(value, powers)


def _shifted(day: date, time: "Measure") -> date:
    """A date some time later; a month after January 31 is the end of February (dateutil's)."""
    unit = str(time.units)
    if unit not in ("month", "year"):
        unit, time = "day", converted(time, {"days": 1})
    count = _SHORT.plus(time.magnitude)
    if count % 1 or abs(count) > date.max.toordinal():
        raise ValueError(f"{count.normalize()} {unit}s cannot be added to a date")
    months = int(count) * (12 if unit == "year" else 1)
    return day + (timedelta(int(count)) if unit == "day" else relativedelta(months=months))


def _between(span: str, first: date, last: date) -> Value:
    """Whole days, weeks, months or years between two dates, whichever is the earlier."""
    first, last = sorted((first, last))
    days, gap = (last - first).days, relativedelta(last, first)
    counts = {"days": days, "weeks": days // 7, "months": 12 * gap.years + gap.months, "years": gap.years}
    return measure(Decimal(counts[span]), {span: 1})


_WITH_UNITS: dict[str, Callable[..., Value]] = {"measure": _measure, "convert": _convert}
_OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": lambda left, right: _plain(left) * _plain(right),
    "divide": lambda left, right: _plain(left) / _plain(right),
    "floor divide": _floor_divide,
    "modulo": _modulo,
    "power": _power,
    "negate": _negate,
    "percent": lambda value: Percent(_number(value)),
    "of": _of,
    "sqrt": lambda value: _number(value).sqrt(),
    "abs": lambda value: abs(_plain(value)),
    "floor": partial(_rounded, ROUND_FLOOR),
    "ceil": partial(_rounded, ROUND_CEILING),
    "round": partial(_rounded, ROUND_HALF_UP),
    "ln": lambda value: _number(value).ln(),
    "log10": lambda value: _number(value).log10(),
    "log": _logarithm,
    "exp": lambda value: _number(value).exp(),
    "sin": partial(_trigonometric, math.sin),
    "cos": partial(_trigonometric, math.cos),
    "tan": partial(_trigonometric, math.tan),
    "min": partial(_smallest, min),
    "max": partial(_smallest, max),
    "sum": _sum,
    "mean": lambda *values: _sum(*values) / len(values),
    **{f"{span} between": partial(_between, span) for span in SPANS},
}
