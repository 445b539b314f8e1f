"""A tool-calling chat model that does what a test tells it, whether it is allowed to or not, and tools to call."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult

Act = Callable[[list[BaseMessage]], AIMessage]


class Acting(BaseChatModel):
    """Answers with `act(messages)`.

    Attributes:
        asked: the prompts.
        options: the arguments of each call; "tools" by name.
    """

    act: Any
    asked: list[list[BaseMessage]]
    options: list[dict[str, Any]]

    @property
    def _llm_type(self) -> str:
        return "acting"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append(messages)
        self.options.append(kwargs)
        return ChatResult(generations=[ChatGeneration(message=self.act(messages))])

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self.bind(tools=[tool.name for tool in tools], **kwargs)


def acting(act: Act) -> Acting:
    return Acting(act=act, asked=[], options=[])


def acts(*messages: AIMessage, then: AIMessage | None = None) -> Acting:
    """Gives these messages one after another, and then one for ever."""
    rest = itertools.repeat(then) if then else iter(())
    script = itertools.chain(messages, rest)
    return acting(lambda _: next(script).model_copy(deep=True))


_numbers = itertools.count()


def call(name: str, **arguments: Any) -> AIMessage:
    """A message that calls a tool; every one has the id of its own that it keeps."""
    return calls((name, arguments))


def calls(*each: tuple[str, dict[str, Any]]) -> AIMessage:
    """A message with several calls."""
    made = [{"name": name, "args": args, "id": f"call_{next(_numbers)}", "type": "tool_call"} for name, args in each]
    return AIMessage("", tool_calls=made)


def broken(name: str, text: str, call_id: str | None = "broken") -> AIMessage:
    """A message with a call whose arguments are no JSON."""
    made = {"name": name, "args": text, "id": call_id, "error": None, "type": "invalid_tool_call"}
    return AIMessage("", invalid_tool_calls=[made])


def observations(messages: Iterable[BaseMessage]) -> list[str]:
    return [message.text for message in messages if isinstance(message, ToolMessage)]
