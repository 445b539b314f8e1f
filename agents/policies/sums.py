"""Questions that are a sum and nothing else ("What is 17 * 23?") are answered with the calculator's result.

A small model on this machine guesses them, calculates with other numbers, or calculates on with the result. So it must
call the calculator, with the question's numbers (`number_binding.py`), and once more if some are left; then it must
answer, with the result (`bound_answer.py`). All other questions, and models that are not `ChatGGUF`, are left as they
are. A question counts as a sum if all its words are of a short English list: powers, roots, units, dates and numbers in
words are not on it.
"""

import re
from typing import Any

from langchain.agents.middleware.types import ModelRequest
from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool

from phireside.agents.policies.bound_answer import bound, last_amount
from phireside.agents.policies.final import forced
from phireside.agents.policies.number_binding import NumberBinding
from phireside.agents.policies.numbers import literals_in, numbers_in
from phireside.agents.policies.plan import ModelPlan, ModelPolicy
from phireside.agents.policies.turn import calls_of, turn_of
from phireside.models import ChatGGUF

_LONGEST = 200  # characters of a question
_MOST_NUMBERS = 5  # that the bound grammar can join
_OPERATION = r"plus|minus|times|multipl(?:y|ied)|divided?|add|subtract|sum|difference|product|quotient|percent"
_OTHER = (
    "what(?:'?s)?|is|are|how|much|does|do|make|makes|calculate|compute|work|out|solve|evaluate|please|the|result|"
    "answer|of|and|to|from|by|with|equals?|can|could|would|you|tell|me|give|hi|hello"
)
_SYMBOL = r"[-+*/\u00d7\u00f7\u2212%]"
_WORDS = re.compile(
    rf"(?:\b(?:{_OPERATION}|{_OTHER})\b|[0-9][0-9.,]*+(?!\w)|\.[0-9]+|(?<=[0-9]) ?x ?(?=[0-9])|{_SYMBOL}"
    r"|[()?.,:=\s])++",
    re.IGNORECASE,
)
_OPERATOR = re.compile(rf"\b(?:{_OPERATION})\b|{_SYMBOL}|[0-9] ?x ?[0-9]", re.IGNORECASE)
_BEYOND = re.compile(r"\*\s*\*|/\s*/|\([^)]*\(|\d-\d+-\d")  # powers, whole parts, brackets in brackets, dates


class Sums(ModelPolicy):
    """See the module.

    Args:
        tool: the calculator's name.
    """

    def __init__(self, tool: str = "calculator") -> None:
        super().__init__()
        self._tool, self._numbers = tool, NumberBinding(tool, first=True)

    def model_call(self, request: ModelRequest[Any]) -> ModelPlan:
        """See `ModelPolicy`."""
        turn = list(turn_of(request.messages))
        there = any(isinstance(each, BaseTool) and each.name == self._tool for each in request.tools)
        asked = turn[0] if turn else None
        if not (there and isinstance(request.model, ChatGGUF) and isinstance(asked, HumanMessage)):
            return (yield request)
        if not is_sum(asked.text):
            return (yield request)
        if last_amount(turn) is not None:
            calls = calls_of(turn)
            used = {float(each) for call in calls for each in literals_in(call.arguments)}
            if len(calls) > 1 or {float(each) for each in numbers_in(asked.text)} <= used:
                return bound((yield forced(request)), turn, at_the_end=True)
            request = request.override(tool_choice=self._tool)
        return (yield from self._numbers.model_call(request))


def is_sum(text: str) -> bool:
    """Whether a question is a sum of plain numbers and nothing else."""
    return (
        len(text) <= _LONGEST
        and 2 <= len(numbers_in(text)) <= _MOST_NUMBERS
        and bool(_WORDS.fullmatch(text) and _OPERATOR.search(text))
        and not _BEYOND.search(text)
    )
