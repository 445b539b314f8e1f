"""The answer with which a turn ends when it may not go on."""

from collections.abc import Sequence
from typing import Any

from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from phireside.agents.policies.turn import turn_of
from phireside.agents.policies.untrusted import UNTRUSTED, without_copies
from phireside.models import ChatGGUF

ENDED_BY = "ended_by"
"""Key in the last answer's `response_metadata`, if a policy made it the last: which one."""

EXCUSE = "I could not finish: "
"""How an answer of ours begins, in the place of a model that says nothing."""

_SHOWN = 300  # characters of the last result in an answer of ours


def forced(request: ModelRequest[Any]) -> ModelRequest[Any]:
    """The same request, to which the model can only answer.

    ChatGGUF keeps the tools in its prompt, which stays in the cache; its grammar has no call left. Of other models not
    all know `tool_choice="none"`, but none calls a tool that it has not been given.
    """
    if isinstance(request.model, ChatGGUF):
        return request.override(tool_choice="none") if request.tools else request
    return request.override(tools=[], tool_choice=None)


def for_a_person(message: BaseMessage, before: Sequence[BaseMessage]) -> BaseMessage:
    """An answer without what is not for its reader: marks of strangers' text, and a call that was only written down.

    Args:
        message: that the model gave.
        before: the conversation.
    """
    if not isinstance(message, AIMessage) or message.tool_calls or message.invalid_tool_calls:
        return message
    text = without_copies(message.text, before).partition("\nAction:")[0]
    return message if text == message.text else message.model_copy(update={"content": text})


def closed(response: ModelResponse[Any], by: str, why: str, messages: Sequence[BaseMessage]) -> ModelResponse[Any]:
    """The response as a last one: with some text, and without calls, whatever the model made of it.

    Args:
        response: of the model.
        by: the policy, for `ENDED_BY`.
        why: the same for a person, after "I could not finish: ".
        messages: the conversation.
    """
    given = next((each for each in response.result if isinstance(each, AIMessage)), AIMessage(""))
    answer = AIMessage(
        given.text if given.text.strip() else excuse(why, messages),
        id=given.id,
        name=given.name,
        usage_metadata=given.usage_metadata,
        response_metadata={**given.response_metadata, ENDED_BY: by},
        additional_kwargs={key: value for key, value in given.additional_kwargs.items() if key == "reasoning_content"},
    )
    return ModelResponse(result=[answer])


def excuse(why: str, messages: Sequence[BaseMessage]) -> str:
    """What to say in the place of a model that says nothing: why, and the last result."""
    results = [each for each in turn_of(messages) if isinstance(each, ToolMessage) and each.status != "error"]
    text = f"{EXCUSE}{why}."
    if not results or results[-1].response_metadata.get(UNTRUSTED):  # a stranger's words must not become ours
        return text
    shown = results[-1].text.strip()
    return f"{text} The last result was: {shown[:_SHOWN]}{'…' if len(shown) > _SHOWN else ''}" if shown else text
