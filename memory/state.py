"""The values that memories work with: a state, a selection, a compaction. Plain data, cheap to import, no model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from langchain_core.messages import BaseMessage

CountTokens: TypeAlias = Callable[[Sequence[BaseMessage]], int]
"""Tokens of a list of messages as a prompt. More messages have more tokens; it renders a template and is not cheap."""


@dataclass(frozen=True)
class MemoryState:
    """What a memory has made of a conversation. It is kept beside the conversation and never instead of it.

    Attributes:
        summary: prose that stands for the oldest messages.
        facts: what the person stated about themselves in them.
        covered: how many messages, from the first on, these two stand for. System messages are not counted: they are
            always sent, and a chat may be asked today with a system prompt and tomorrow without.
    """

    summary: str = ""
    facts: tuple[str, ...] = ()
    covered: int = 0


NOTHING = MemoryState()


@dataclass(frozen=True)
class Selection:
    """What is sent to the model.

    Attributes:
        messages: the messages, in order.
        left_out: how many messages of the conversation are sent neither as they are nor within a summary.
        tokens: what `count_tokens` says of `messages`.
        summarized: how many messages are sent as a summary.
        note: the message among `messages` that is the summary.
    """

    messages: list[BaseMessage]
    left_out: int
    tokens: int
    summarized: int = 0
    note: BaseMessage | None = None


@dataclass(frozen=True)
class Compaction:
    """Work for after the answer: some more messages are to go into the summary.

    Attributes:
        before: the state that it goes on from.
        messages: the messages to add, whole turns, no system messages.
        covered: what the new state will cover.
        max_tokens: of the new summary.
        characters: of one message's text that are shown to the model; None = all. Only a turn that is too long for the
            model by itself is shortened, and the text says so.
        shown: how many messages are shown to it, the first and the last ones; None = all. Only where a turn has so many
            that shortening them is not enough, and the text says so.
    """

    before: MemoryState
    messages: tuple[BaseMessage, ...] = field(repr=False)
    covered: int
    max_tokens: int
    characters: int | None = None
    shown: int | None = None
