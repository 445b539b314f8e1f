"""The same tool with the same arguments: it is not run again, and then not to be called again in this turn.

A call that failed is run once more; one that a person refused is not. Otherwise the model is given what is known. Once
a repeated call told nothing new, its tool leaves the grammar, and the prompt stays the same. With no tool left, or with
a model that has no grammar and asks on, the model may only answer.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from langchain.agents.middleware.types import ModelRequest, ToolCallRequest
from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.tools import BaseTool

from phireside.agents.policies.final import closed, forced
from phireside.agents.policies.plan import ModelPlan, ModelPolicy, ToolPlan, ToolPolicy, each_message
from phireside.agents.policies.turn import RAN, REPEATED, Call, calls_of, earlier, is_run, left_to_read
from phireside.agents.policies.untrusted import UNTRUSTED
from phireside.models import ChatGGUF

AGAIN = "The same call was made before. Its result: "


class RepeatedCalls(ModelPolicy, ToolPolicy):
    """See the module."""

    def model_call(self, request: ModelRequest[Any]) -> ModelPlan:
        """See `ModelPolicy`."""
        wasted = wasted_calls(request.state["messages"])
        barred = {name for name, _ in wasted}
        names = {tool.name for tool in request.tools if isinstance(tool, BaseTool)}
        if wasted and (names <= barred or max(wasted.values()) > 1):
            response = yield forced(request)
            return closed(response, "repeated calls", "the same call was made again and again", request.messages)
        return (yield without(request, barred & names))

    def tool_call(self, request: ToolCallRequest) -> ToolPlan:
        """See `ToolPolicy`."""
        call, messages = request.tool_call, request.state["messages"]
        before = earlier(messages, call)
        if is_run(messages, call) or left_to_read(before):
            return each_message((yield request), _ran)
        return _again(before, request)


def wasted_calls(messages: Sequence[BaseMessage]) -> Counter[tuple[str, str]]:
    """Of each call of this turn, by name and arguments, how often it told nothing new after the first time."""
    seen: set[tuple[str, str]] = set()
    wasted: Counter[tuple[str, str]] = Counter()
    for call in calls_of(messages):
        if call.key in seen and call.told_nothing:
            wasted[call.key] += 1
        seen.add(call.key)
    return wasted


def without(request: ModelRequest[Any], names: set[str]) -> ModelRequest[Any]:
    """The request without these tools; with ChatGGUF they stay in the prompt, of which nothing is read again."""
    if not names:
        return request
    if isinstance(request.model, ChatGGUF):
        return request.override(model_settings={**request.model_settings, "barred": sorted(names)})
    return request.override(
        tools=[tool for tool in request.tools if not isinstance(tool, BaseTool) or tool.name not in names]
    )


def _ran(message: ToolMessage) -> ToolMessage:
    return message.model_copy(update={"response_metadata": {**message.response_metadata, RAN: True}})


def _again(before: list[Call], request: ToolCallRequest) -> ToolMessage:
    """What the call gave before."""
    answer = next((each.answer for each in reversed(before) if each.answer), None)
    text = answer.text.removeprefix(AGAIN) if answer else "it is still to come."
    untrusted = {UNTRUSTED: True} if answer and answer.response_metadata.get(UNTRUSTED) else {}
    call = request.tool_call
    return ToolMessage(
        AGAIN + text,
        name=call["name"],
        tool_call_id=call["id"] or "",
        status=answer.status if answer else "success",
        response_metadata={REPEATED: True, **untrusted},
    )
