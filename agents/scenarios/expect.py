"""Checks expectations on what was run. Knows nothing of agents; only `judged` asks a model."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage

from phireside.agents.scenarios.json_schemas import first_problem
from phireside.agents.scenarios.match import folded, matches, numbers, same_calls
from phireside.agents.scenarios.outcome import Check, TurnRecord
from phireside.agents.scenarios.patterns import found
from phireside.agents.scenarios.schema import Expect, written
from phireside.chains import Cost, ask
from phireside.chains.forms import yes_or_no
from phireside.chains.loop import begin
from phireside.errors import ToolError

_JUDGE = """Question: {user}

Answer: {answer}

{judged} Say yes or no."""
_SHOWN = 160  # characters of what was found


@dataclass(frozen=True)
class Means:
    """What measuring needs.

    Attributes:
        judge: decides `judged`; None = nobody can.
        reference_s: seconds of one plain answer; None = seconds mean nothing here.
    """

    judge: BaseChatModel | None = None
    reference_s: float | None = None


class _UnmeasurableError(Exception):
    """It cannot be measured; the message says why."""


def check(expected: Expect, where: str, turns: Sequence[TurnRecord], means: Means) -> Check:
    """What came of an expectation.

    Args:
        expected: the expectation.
        where: what reports call the turns.
        turns: that it speaks of: one, or all of the conversation. Their last answer is the answer.
        means: what measuring needs.
    """
    try:
        met, found = _CHECKS[expected.kind](expected, turns, means)
    except _UnmeasurableError as error:
        return Check(where, expected.label, None, expected.weight, str(error))
    except ToolError as error:  # a regular expression that does not come to an end
        return Check(where, expected.label, None, expected.weight, error.message)
    return Check(where, expected.label, met != expected.negated, expected.weight, found)


_Checked = tuple[bool, str]


def _contains(expected: Expect, turns: Sequence[TurnRecord], _: Means) -> _Checked:
    return folded(str(expected.value)) in folded(turns[-1].answer), _answered(turns)


def _number(expected: Expect, turns: Sequence[TurnRecord], _: Means) -> _Checked:
    found = numbers(turns[-1].answer)
    wanted, tolerance = Decimal(str(expected.value)), Decimal(str(expected.tolerance))
    listed = ", ".join(map(str, found)) or "none"
    return any(abs(each - wanted) <= tolerance for each in found), f"the numbers in the answer: {listed:.{_SHOWN}}"


def _regex(expected: Expect, turns: Sequence[TurnRecord], _: Means) -> _Checked:
    return found(expected.value, turns[-1].answer), _answered(turns)


def _json_schema(expected: Expect, turns: Sequence[TurnRecord], _: Means) -> _Checked:
    try:
        value = json.loads(turns[-1].answer)
        problem = first_problem(expected.value, value)
    except ValueError as error:
        return False, f"the answer is no JSON ({error}): {turns[-1].answer:.{_SHOWN}}"
    except RecursionError:
        return False, f"the answer is nested too deep: {turns[-1].answer:.{_SHOWN}}"
    return not problem, problem[:_SHOWN] or _answered(turns)


def _choice(expected: Expect, turns: Sequence[TurnRecord], _: Means) -> _Checked:
    return folded(turns[-1].answer) in map(folded, expected.value), _answered(turns)


def _judged(expected: Expect, turns: Sequence[TurnRecord], means: Means) -> _Checked:
    if means.judge is None:
        raise _UnmeasurableError("a scripted model cannot judge")
    asked = _JUDGE.format(user=turns[-1].user, answer=turns[-1].answer, judged=expected.value)
    verdict = begin(ask(means.judge, [HumanMessage(asked)], yes_or_no())).result()
    return verdict.value, f"the model says {verdict.text.lower()} of {_answered(turns)}"


def _tool(expected: Expect, turns: Sequence[TurnRecord], _: Means) -> _Checked:
    ran = _ran(turns)
    return any(name == expected.tool and matches(expected.arguments, given) for name, given in ran), _listed(ran)


def _calls(expected: Expect, turns: Sequence[TurnRecord], _: Means) -> _Checked:
    ran = _ran(turns)
    return same_calls(expected.value, ran, expected.order), _listed(ran)


def _observed(expected: Expect, turns: Sequence[TurnRecord], _: Means) -> _Checked:
    results = [each.result for turn in turns for each in turn.ran]
    shown = " | ".join(results) or "no tool ran"
    return any(folded(expected.value) in folded(each) for each in results), f"{shown:.{_SHOWN}}"


def _steps(expected: Expect, turns: Sequence[TurnRecord], _: Means) -> _Checked:
    steps = sum(turn.steps for turn in turns)
    return steps <= expected.value, f"{steps} steps"


def _tokens(expected: Expect, turns: Sequence[TurnRecord], _: Means) -> _Checked:
    count = _figures(turns).generated_tokens
    return count <= expected.value, f"{count} tokens written"


def _evaluated(expected: Expect, turns: Sequence[TurnRecord], _: Means) -> _Checked:
    read = _figures(turns).evaluated_tokens
    return read <= expected.value, f"{read} tokens read"


def _seconds(expected: Expect, turns: Sequence[TurnRecord], means: Means) -> _Checked:
    if means.reference_s is None:
        raise _UnmeasurableError("there is no model whose seconds could be compared")
    ratio = sum(turn.seconds for turn in turns) / means.reference_s
    return ratio <= expected.value, f"{ratio:.1f} times as long as one answer of 32 tokens"


def _figures(turns: Sequence[TurnRecord]) -> Cost:
    """The cost, if the model says what it is."""
    cost = sum((turn.cost for turn in turns), Cost())
    if not cost.prompt_tokens:
        raise _UnmeasurableError("the model gives no figures")
    return cost


def _ran(turns: Sequence[TurnRecord]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(each.tool, each.arguments) for turn in turns for each in turn.ran]


def _listed(ran: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    return f"ran: {'; '.join(written(*each) for each in ran) or 'no tool'}"[: 2 * _SHOWN]


def _answered(turns: Sequence[TurnRecord]) -> str:
    return f"the answer: {turns[-1].answer:.{_SHOWN}}" if turns[-1].answer else "there was no answer"


_CHECKS: dict[str, Callable[[Expect, Sequence[TurnRecord], Means], _Checked]] = {
    "contains": _contains, "number": _number, "regex": _regex, "json-schema": _json_schema, "choice": _choice,
    "judged": _judged, "tool": _tool, "calls": _calls, "observed": _observed, "steps": _steps, "tokens": _tokens,
    "evaluated": _evaluated, "seconds": _seconds,
}  # fmt: skip
