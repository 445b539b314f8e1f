"""OpenAI's messages as LangChain's. Knows nothing of what they are for."""

import json
from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from phireside.api.requests import Message
from phireside.errors import RequestError


def to_messages(given: Sequence[Message]) -> list[BaseMessage]:
    """The messages of a request.

    Raises:
        RequestError: a tool's result does not say which call it answers.
    """
    return [_message(number, each) for number, each in enumerate(given)]


def _message(number: int, given: Message) -> BaseMessage:
    if given.role in ("system", "developer"):
        return SystemMessage(given.text)
    if given.role == "user":
        return HumanMessage(given.text)
    if given.role == "assistant":
        calls = given.tool_calls or []
        made = [
            {"id": call.id, "name": call.function.name, "args": json.loads(call.function.arguments or "{}")}
            for call in calls
        ]
        return AIMessage(given.text, tool_calls=made)
    if not given.tool_call_id:
        raise RequestError(
            f"messages[{number}] is a tool's result without tool_call_id.", hint="Name the call that it answers."
        )
    return ToolMessage(given.text, tool_call_id=given.tool_call_id, name=given.name)


def asked_last(messages: Sequence[BaseMessage]) -> tuple[str, list[BaseMessage]]:
    """The question, and what was said before it without system prompts: for those who have one of their own.

    Raises:
        RequestError: the last message is none of a person.
    """
    *before, last = messages
    if not isinstance(last, HumanMessage):
        raise RequestError("The last message is not the user's.", hint="End the messages with a question.")
    return last.text, [each for each in before if not isinstance(each, SystemMessage)]
