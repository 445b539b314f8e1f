"""The Lark grammar of the calculator's expressions, for decoding (llguidance's Lark, see docs/grammars.md).

Narrower than what the calculator reads: one way of spacing, few brackets, and units that fit one another. All that it
allows, the calculator reads. The lexer takes the longest text that it can, so no text begins with another and a space
("%" and "% of "). A small model that is left more freedom writes `2249 * 0.85 = 2249.05 euros`.
"""

from collections.abc import Iterable

from phireside.tools.expression import CONSTANTS, FUNCTIONS, SPANS
from phireside.tools.units import UNITS

_LEVELS = (5, 3, 1)  # most operators in an expression, and in its brackets within brackets
_OPERATORS = (" + ", " - ", " * ", " / ", " // ")
_MANY = [name for name, (_, most) in FUNCTIONS.items() if most > 2]
_ONE = [name for name, (fewest, most) in FUNCTIONS.items() if fewest == most == 1]

_TERMINALS = r"""
NUMBER: /[0-9]{1,9}(\.([0-9]{1,2}|[0-9]{2,3}[1-9]))?/
COUNT: /[1-9][0-9]{0,3}/
PLACES: /[0-9]/
POWER: /[0-9]{1,2}/
DATE: /(1[0-9]|2[0-9])[0-9]{2}-((0[13578]|1[02])-31|(0[13-9]|1[0-2])-(29|30)|(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8]))/
LEAP: /(1[0-9]|2[0-9])(0[48]|[2468][048]|[13579][26])-02-29/
day: DATE | LEAP
"""


def expression_grammar() -> str:
    """Arithmetic with percents and functions, amounts of one kind with their units, rates, and dates."""
    rules = [
        "start: calculation | amount | rate | dates",
        f'calculation: "-"? operand0 (after0){{1,{_LEVELS[0]}}} | part0 | "-"? call0',
        *(rule for level in range(len(_LEVELS)) for rule in _level(level)),
        f"constant: {_any(CONSTANTS)}",
        *_amounts(),
        'dates: day ((" + " | " - ") COUNT " " span){1,3} | day " - " day | span " between " day " and " day',
        f"span: {_any(SPANS)}",
    ]
    return "\n".join(rules) + _TERMINALS


def _level(level: int) -> list[str]:
    """Sums at one depth of brackets; the deepest has no brackets of its own."""
    inner = f"sum{level + 1}"
    rules = [
        f'after{level}: {_any(_OPERATORS, group=True)} "-"? operand{level} | " % " operand{level} | " ^ " POWER',
        f'sum{level}: "-"? operand{level} (after{level}){{0,{_LEVELS[level]}}}',
    ]
    if level + 1 == len(_LEVELS):
        return [*rules, f'operand{level}: NUMBER | NUMBER "%" | constant']
    return [
        *rules,
        f'operand{level}: NUMBER | NUMBER "%" | constant | "(" {inner} ")" | part{level} | call{level}',
        f'part{level}: NUMBER "%" " of " (NUMBER | "(" {inner} ")")',
        f'call{level}: {_any(_ONE, group=True)} "(" {inner} ")" | "round(" {inner} (", " PLACES)? ")"'
        f' | "log(" {inner} ", " {inner} ")" | {_any(_MANY, group=True)} "(" {inner} (", " {inner}){{1,5}} ")"',
    ]


def _amounts() -> list[str]:
    """Amounts of one dimension, so that their sum, and the unit they are converted to, always make sense."""
    rules = [
        f"amount: {' | '.join(f'{kind}_amount' for kind in UNITS)}",
        'rate: NUMBER " " length " / " NUMBER " " time (" in " velocity)? | NUMBER " " velocity " in " velocity'
        ' | NUMBER " " velocity " * " NUMBER " " time (" in " length)?',
        'velocity: "km/h" | "m/s" | speed',
    ]
    for kind, names in UNITS.items():
        units = list(dict.fromkeys(name.split()[0] for name in names.values()))
        rules.append(f"{kind}: {_any(units)}")
        # To another unit: a small model writes "3 km in km".
        change = [f'"{unit}" " in " {_any([other for other in units if other != unit], group=True)}' for unit in units]
        if kind == "temperature":  # 20 and 5 celsius are not 25
            rules.append(f'{kind}_amount: "-"? NUMBER " " ({" | ".join(change)})')
        else:
            rules.append(
                f'{kind}_amount: NUMBER " " ({kind} {kind}_more{{1,4}} (" in " {kind})? | {" | ".join(change)})'
            )
            rules.append(f'{kind}_more: (" + " | " - ") NUMBER (" " {kind} | "%") | (" * " | " / ") NUMBER')
    return rules


def _any(words: Iterable[str], *, group: bool = False) -> str:
    text = " | ".join(f'"{word}"' for word in dict.fromkeys(words))
    return f"({text})" if group else text
