"""The final answer gives the last result: where the model's own answer does not, it is put in its place.

Small models work a number out with a tool, and then say another one. Only results that are a number, with or without a
unit, are bound. What strangers wrote stands between marks (`untrusted.py`), and so is never one.
"""

import re
from collections.abc import Sequence
from typing import Any

from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from phireside.agents.policies.plan import ModelPlan, ModelPolicy
from phireside.agents.policies.turn import turn_of

SAID = "said"
"""Key in the `response_metadata` of an answer that was replaced: what the model had said."""

_SIGNED = re.compile(r"(?<![\w.])-?[0-9]+(?:\.[0-9]+)?")
_AMOUNT = re.compile(r"-?[0-9]+(\.[0-9]+)?( [A-Za-z°/ ]{1,40})?")


class BoundAnswer(ModelPolicy):
    """See the module."""

    def model_call(self, request: ModelRequest[Any]) -> ModelPlan:
        """See `ModelPolicy`."""
        response = yield request
        amount = last_amount(request.messages)
        if amount is None:
            return response
        return ModelResponse([_bound(each, amount) for each in response.result], response.structured_response)


def last_amount(messages: Sequence[BaseMessage]) -> str | None:
    """The last result of this turn, if it is a number."""
    results = [each for each in turn_of(messages) if isinstance(each, ToolMessage) and each.status != "error"]
    text = results[-1].text.strip() if results else ""
    return text if _AMOUNT.fullmatch(text) else None


def _bound(message: BaseMessage, amount: str) -> BaseMessage:
    if not isinstance(message, AIMessage) or message.tool_calls or message.invalid_tool_calls:
        return message
    said = message.text.strip()
    if not said or _SIGNED.findall(said.replace(",", ""))[-1:] == [amount.split(" ")[0]]:
        return message
    metadata = {**message.response_metadata, SAID: message.text}
    return message.model_copy(update={"content": f"The answer is {amount}.", "response_metadata": metadata})
