"""The calls that an agent made since the person's last message, with what came back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage

RAN, REPEATED, UNREAD, READ = "ran", "repeated", "unread", "read"
"""Keys in an observation's `response_metadata`: that the tool was run (and not refused by a person), that the result is
there a second time, the text that did not fit into it, and, of a later part, up to which character of that text it
goes: the text itself is kept once, with the first part."""


@dataclass(frozen=True)
class Call:
    """A call of this turn.

    Attributes:
        call_id: the model's; not always the only one of its kind.
        name: of the tool.
        arguments: as JSON, with sorted keys; or what a model wrote in its place.
        answer: None = there is none yet.
    """

    call_id: str
    name: str
    arguments: str
    answer: ToolMessage | None

    @property
    def key(self) -> tuple[str, str]:
        """What two calls have in common that ask for the same."""
        return self.name, self.arguments

    @property
    def failed(self) -> bool:
        """Whether an error came back."""
        return self.answer is not None and self.answer.status == "error"

    @property
    def may_be_run_again(self) -> bool:
        """Whether it was tried and failed."""
        return self.failed and bool(self.metadata.get(RAN)) and not self.metadata.get(UNREAD)

    @property
    def metadata(self) -> dict[str, Any]:
        """What is noted on its answer."""
        return self.answer.response_metadata if self.answer else {}

    @property
    def told_nothing(self) -> bool:
        """Whether it failed, or got what was there already; the next part of a long error is something new."""
        return (self.failed and READ not in self.metadata) or bool(self.metadata.get(REPEATED))


def turn_of(messages: Sequence[BaseMessage]) -> Sequence[BaseMessage]:
    """What came since the person's last message, that message included."""
    last = max((at for at, message in enumerate(messages) if isinstance(message, HumanMessage)), default=0)
    return messages[last:]


def calls_of(messages: Sequence[BaseMessage]) -> list[Call]:
    """The calls of this turn, those with broken arguments among them."""
    found: list[Call] = []
    turn = turn_of(messages)
    for at, message in enumerate(turn):
        if isinstance(message, AIMessage):
            answers = _answers(turn[at + 1 :])
            found += [_call(each, answers) for each in [*message.tool_calls, *message.invalid_tool_calls]]
    return found


def _answers(messages: Sequence[BaseMessage]) -> dict[str, ToolMessage]:
    """The results that stand before the model's next message: some models give every call the same id."""
    answers: dict[str, ToolMessage] = {}
    for message in messages:
        if isinstance(message, AIMessage):
            break
        if isinstance(message, ToolMessage):
            answers[message.tool_call_id] = message
    return answers


def _call(call: Any, answers: dict[str, ToolMessage]) -> Call:
    call_id, arguments = call["id"] or "", call["args"]
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, sort_keys=True, default=str)
    return Call(call_id, call["name"] or "", written, answers.get(call_id))


def earlier(messages: Sequence[BaseMessage], call: ToolCall) -> list[Call]:
    """The calls of this turn that asked for the same before this one, which is in the last message of the model."""
    this, calls = _call(call, {}), calls_of(messages)
    places = [at for at, each in enumerate(calls) if each.call_id == this.call_id]
    return [each for each in calls[: places[-1] if places else None] if each.key == this.key]


def left_to_read(calls: Sequence[Call]) -> tuple[ToolMessage, int] | None:
    """Of calls for the same: the observation that keeps the text which did not fit, and how much of it was read since.

    None if nothing is left.
    """
    kept = max((at for at, each in enumerate(calls) if UNREAD in each.metadata), default=None)
    if kept is None or not (first := calls[kept].answer):
        return None
    read = max(int(each.metadata.get(READ, 0)) for each in calls[kept:])
    return (first, read) if read < len(first.response_metadata[UNREAD]) else None


def is_run(messages: Sequence[BaseMessage], call: ToolCall) -> bool:
    """Whether a call is carried out: asked for the first time, or once more after a failure."""
    before = earlier(messages, call)
    return not before or (len(before) == 1 and before[0].may_be_run_again)
