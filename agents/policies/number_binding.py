"""Numbers in a calculation come from the question or from a result: a model does not make them up.

With `ChatGGUF` the calculator's input is decoded under a grammar that is made for each step of the numbers known by
then. The prompt stays the same, so nothing is read again. Of other models, a calculation with a foreign number is
refused: that becomes an observation. With fewer than two numbers nothing is bound.

For sums and the like: the grammar has `+ - * /`, brackets and percents, and no units, dates, powers or functions. A
number that stood somewhere with a sign can be written as `(-5)`; a refusal does not look at signs.
"""

import json
from collections.abc import Sequence
from typing import Any

from langchain.agents.middleware.types import ModelRequest, ToolCallRequest
from langchain_core.tools import BaseTool

from phireside.agents.policies.numbers import known_negatives, known_numbers, literals_in
from phireside.agents.policies.plan import ModelPlan, ModelPolicy, ToolPlan, ToolPolicy
from phireside.agents.policies.turn import calls_of
from phireside.errors import ToolError
from phireside.models import ChatGGUF

_MOST = 64  # numbers in the grammar, the latest


class NumberBinding(ModelPolicy, ToolPolicy):
    """See the module.

    Args:
        tool: whose argument is bound.
        argument: a text with a calculation.
        first: whether the tool must be called before there can be an answer, in turns that have numbers to bind.
    """

    def __init__(self, tool: str = "calculator", argument: str = "expression", *, first: bool = False) -> None:
        super().__init__()
        self._tool, self._argument, self._first = tool, argument, first

    def model_call(self, request: ModelRequest[Any]) -> ModelPlan:
        """See `ModelPolicy`."""
        numbers = known_numbers(request.messages)[-_MOST:]
        if len(numbers) < 2:
            return (yield request)
        if self._first and self._may_be_called(request) and not calls_of(request.messages):
            request = request.override(tool_choice=self._tool)
        if not isinstance(request.model, ChatGGUF):
            return (yield request)
        percents = any("%" in each.text or "percent" in each.text for each in request.messages if each.type == "human")
        negatives = known_negatives(request.messages)[-_MOST:]
        grammar = {"lark": bound_grammar(numbers, negatives, percents=percents)}
        return (yield request.override(tools=[self._with(grammar, each) for each in request.tools]))

    def tool_call(self, request: ToolCallRequest) -> ToolPlan:
        """See `ToolPolicy`."""
        call = request.tool_call
        known = {float(each) for each in known_numbers(request.state["messages"])}
        used = literals_in(str(call["args"].get(self._argument, ""))) if call["name"] == self._tool else []
        foreign = [each for each in used if len(known) > 1 and float(each) not in known]
        if foreign:
            raise ToolError(
                f"{foreign[0]} stands neither in the question nor in a result.",
                hint="Use numbers from there.",
            )
        return (yield request)

    def _may_be_called(self, request: ModelRequest[Any]) -> bool:
        """Not where a policy wants an answer."""
        names = {each.name for each in request.tools if isinstance(each, BaseTool)}
        return request.tool_choice is None and self._tool in names - set(request.model_settings.get("barred", ()))

    def _with(self, grammar: dict[str, str], tool: Any) -> Any:
        if not isinstance(tool, BaseTool) or tool.name != self._tool:
            return tool
        metadata = tool.metadata or {}
        grammars = {**metadata.get("grammars", {}), self._argument: grammar}
        return tool.model_copy(update={"metadata": {**metadata, "grammars": grammars}})


def bound_grammar(numbers: Sequence[str], negatives: Sequence[str] = (), *, percents: bool = False) -> str:
    """Lark text of the calculations with these numbers.

    Args:
        numbers: those that there are, at least one.
        negatives: those that may be written with a sign, in brackets, as well.
        percents: whether each may be one of hundredths as well, `80 + 15%` and `15% of 80`.
    """
    percent = ' | NUMBER "%"' if percents else ""
    rules = [
        "start: operand (OPERATOR operand){1,4}" + (' | NUMBER "%" " of " NUMBER' if percents else ""),
        f'operand: number{percent} | "(" number (OPERATOR number){{1,3}} ")"',
        'OPERATOR: " + " | " - " | " * " | " / "',
        f"NUMBER: {_any(numbers)}",
        "number: NUMBER" + (" | NEGATIVE" if negatives else ""),
        *([f"NEGATIVE: {_any([f'(-{each})' for each in negatives])}"] if negatives else []),
    ]
    return "\n".join(rules) + "\n"


def _any(texts: Sequence[str]) -> str:
    return " | ".join(json.dumps(each) for each in dict.fromkeys(texts))
