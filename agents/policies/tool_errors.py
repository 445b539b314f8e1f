"""What goes wrong with a call becomes an observation, from which the model may do better: LangChain's, in our words."""

import logging
from typing import Any

from langchain.agents.middleware import ToolErrorMiddleware
from langchain.agents.middleware.types import ModelResponse, ToolCallRequest, hook_config
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.utils.uuid import uuid7

from phireside.agents.policies.plan import ModelPlan, ModelPolicy
from phireside.errors import PhiresideError

log = logging.getLogger(__name__)

_SHOWN = 200  # characters of an error that is not ours


class ToolErrors(ToolErrorMiddleware, ModelPolicy):
    """Errors of tools, and calls whose arguments are no JSON, with which LangChain's agent ends a turn in silence."""

    def __init__(self) -> None:
        super().__init__(observation)

    def model_call(self, request: Any) -> ModelPlan:
        """See `ModelPolicy`: gives each call an id of its own, so that it can be answered."""
        response = yield request
        return ModelResponse([_with_ids(each) for each in response.result], response.structured_response)

    @hook_config(can_jump_to=["model"])
    def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002
        """Answers broken calls."""
        message = state["messages"][-1]
        if not isinstance(message, AIMessage) or not message.invalid_tool_calls:
            return None
        answers = [_answer(call) for call in message.invalid_tool_calls]
        return {"messages": answers, **({} if message.tool_calls else {"jump_to": "model"})}

    @hook_config(can_jump_to=["model"])
    async def aafter_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
        """See `after_model`."""
        return self.after_model(state, runtime)


def observation(error: Exception, request: ToolCallRequest) -> str:
    """An error in words for the model: ours with its hint, of others the first line."""
    if isinstance(error, PhiresideError):
        return str(error)
    log.info("The tool %s failed.", request.tool_call["name"], exc_info=error)
    said = str(error).strip().partition("\n")[0][:_SHOWN]
    return f"The tool failed: {type(error).__name__}{': ' if said else ''}{said}"


def _with_ids(message: BaseMessage) -> BaseMessage:
    """An answer is known by its call's id, which some models leave out or give to several calls."""
    if not isinstance(message, AIMessage):
        return message
    taken: set[str] = set()

    def with_id(call: Any) -> Any:
        call_id = call["id"] if call["id"] and call["id"] not in taken else f"call_{uuid7().hex}"
        taken.add(call_id)
        return {**call, "id": call_id}

    kinds = ("tool_calls", "invalid_tool_calls")
    return message.model_copy(update={kind: [with_id(call) for call in getattr(message, kind)] for kind in kinds})


def _answer(call: Any) -> ToolMessage:
    text = f"The input of {call['name'] or 'the tool'} is not complete. Write it as one short JSON object."
    return ToolMessage(text, name=call["name"], tool_call_id=call["id"], status="error")
