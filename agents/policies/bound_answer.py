"""The final answer gives the last result: where the model's own answer does not, it is put in its place.

Small models work a number out with a tool, and then say another one. Only results that are a number, with or without a
unit, are bound. What strangers wrote stands between marks (`untrusted.py`), and so is never one. Where the last step
has several results, nobody knows which of them is the answer; an answer without a number may be right ("Yes, it is.").
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from phireside.agents.policies.plan import ModelPlan, ModelPolicy
from phireside.agents.policies.repeated_calls import AGAIN
from phireside.agents.policies.turn import turn_of

SAID = "said"
"""Key in the `response_metadata` of an answer that was replaced: what the model had said."""

_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_SIGNED = re.compile(r"(?<![\w.])-?[0-9]+(?:\.[0-9]+)?")
_AMOUNT = re.compile(r"-?[0-9]+(\.[0-9]+)?( [A-Za-z°/ ]{1,40})?")


class BoundAnswer(ModelPolicy):
    """See the module."""

    def model_call(self, request: ModelRequest[Any]) -> ModelPlan:
        """See `ModelPolicy`."""
        return bound((yield request), request.messages)


def bound(
    response: ModelResponse[Any], messages: Sequence[BaseMessage], *, at_the_end: bool = False
) -> ModelResponse[Any]:
    """The response, with an answer that gives the last result of these messages if it is a number.

    Args:
        response: of the model.
        messages: before it.
        at_the_end: whether it must be the answer's last number, and an answer without one is none.
    """
    amount = last_amount(messages)
    if amount is None:
        return response
    return ModelResponse([_bound(each, amount, at_the_end) for each in response.result], response.structured_response)


def last_amount(messages: Sequence[BaseMessage]) -> str | None:
    """The result of this turn's last step that has any, if it is one number."""
    steps: list[list[str]] = [[]]
    for message in turn_of(messages):
        if isinstance(message, AIMessage):
            steps.append([])
        elif isinstance(message, ToolMessage) and message.status != "error":
            steps[-1].append(message.text)
    last = next((each for each in reversed(steps) if each), [])
    text = last[0].removeprefix(AGAIN).strip() if len(last) == 1 else ""
    return text if _AMOUNT.fullmatch(text) else None


def _bound(message: BaseMessage, amount: str, at_the_end: bool) -> BaseMessage:
    if not isinstance(message, AIMessage) or message.tool_calls or message.invalid_tool_calls:
        return message
    said = [Decimal(each) for each in _SIGNED.findall(_THOUSANDS.sub("", message.text))]
    if Decimal(amount.split(" ")[0]) in said[-1 if at_the_end else 0 :] or not (said or at_the_end):
        return message
    metadata = {**message.response_metadata, SAID: message.text}
    return message.model_copy(update={"content": f"The answer is {amount}.", "response_metadata": metadata})
