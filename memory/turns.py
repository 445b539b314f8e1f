"""Turns of a conversation, and which of the newest ones fit into a budget. Shared by all strategies.

A turn begins at a user message. Where a tool's result comes only after the next user message, the two turns count as
one, so that no call is ever separated from its result. System messages belong to no turn and are always sent.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from phireside.errors import ContextOverflowError
from phireside.memory.state import CountTokens, Selection


def turn_starts(messages: Sequence[BaseMessage]) -> list[int]:
    """The positions at which a turn begins: 0, and each user message that no tool call reaches over to its result."""
    spans = _tool_spans(messages)
    starts, open_until, seen = [0], -1, False
    for i, message in enumerate(messages):
        if is_human(message) and i > open_until and seen:
            starts.append(i)
        open_until = max(open_until, spans.get(i, -1))
        seen = seen or not is_system(message)  # a system prompt alone is no turn: it is never left out
    return starts


def is_system(message: BaseMessage) -> bool:
    """Whether it is a system message, by its class or by the role that a `ChatMessage` names."""
    return isinstance(message, SystemMessage) or (isinstance(message, ChatMessage) and message.role == "system")


def is_human(message: BaseMessage) -> bool:
    """Whether the person said it; see `is_system`."""
    named = isinstance(message, ChatMessage) and message.role in ("user", "human")
    return named or isinstance(message, HumanMessage)


def spoken(messages: Sequence[BaseMessage]) -> int:
    """How many messages there are, system messages not counted: the unit of `MemoryState.covered`."""
    return sum(not is_system(message) for message in messages)


def position_of(messages: Sequence[BaseMessage], covered: int) -> int:
    """The position behind the first `covered` messages, system messages not counted; 0 if there are not so many."""
    for i, message in enumerate(messages):
        if covered <= 0:
            return i
        covered -= not is_system(message)
    return len(messages) if covered == 0 else 0


def is_finished(messages: Sequence[BaseMessage]) -> bool:
    """Whether the last turn has its answer."""
    last = messages[-1] if messages else None
    return isinstance(last, AIMessage) and not last.tool_calls


@dataclass(frozen=True)
class Tails:
    """What would be sent if the conversation began at a later position.

    Args:
        messages: the conversation.
        count: tokens of a list of messages.
        note: a message that stands for all before position `noted`; it goes right behind the system prompt.
        noted: see `note`.
    """

    messages: Sequence[BaseMessage]
    count: CountTokens
    note: BaseMessage | None = None
    noted: int = 0

    def at(self, start: int) -> Selection:
        """The system messages, the note, and everything from `start` on."""
        system = next((i for i, m in enumerate(self.messages) if not is_system(m)), len(self.messages))
        start = max(start, system)
        between = [message for message in self.messages[system:start] if is_system(message)]
        note = [self.note] if self.note else []
        sent = [*self.messages[:system], *note, *between, *self.messages[start:]]
        summarized = spoken(self.messages[: min(start, self.noted)]) if self.note else 0
        left_out = spoken(self.messages[:start]) - summarized
        return Selection(sent, left_out, self.count(sent) if sent else 0, summarized, self.note)


def newest_that_fit(tails: Tails, starts: Sequence[int], first: int, budget: int) -> Selection:
    """Everything from turn `first` on if that fits; else fewer of the newest turns, at least half of the budget.

    Which turn is the first that is sent depends on the position of turns alone: of all that would do, it is the one
    whose number can be halved most often. So it stays the same while the conversation grows, until it no longer fits,
    and then whole blocks of turns are left out at once. Were the oldest turn left out each time, the prompt would begin
    otherwise at each question, and nothing of it would be found in the cache.

    Args:
        tails: of the conversation; counted once if all fits, else at most 2 * log2(turns) + 4 times.
        starts: where its turns begin.
        first: the earliest turn that is wanted.
        budget: tokens that the prompt may have.

    Raises:
        ContextOverflowError: the system prompt and the last turn alone exceed the budget.
    """
    tried: dict[int, Selection] = {}

    def tokens(turn: int) -> int:
        if turn not in tried:
            tried[turn] = tails.at(starts[turn])
        return tried[turn].tokens

    last = len(starts) - 1
    if tokens(first) <= budget:
        return tried[first]
    if tokens(last) > budget:
        raise ContextOverflowError(
            f"The system prompt and the last turn have {tokens(last)} tokens; there is room for {budget}.",
            hint="Shorten the message or the system prompt, let the answer be shorter, or load the model with a "
            "larger n_ctx.",
        )
    low = first_where(first + 1, last, lambda turn: tokens(turn) <= budget)
    high = first_where(low, last, lambda turn: 2 * tokens(turn) < budget) - 1
    best = _roundest(low, max(low, high))
    tokens(best)
    return tried[best]


def first_where(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The first number from `low` on of which something holds, if it then holds of all that follow; at most `high`."""
    return low + bisect_left(range(low, high), True, key=holds)


def _roundest(low: int, high: int) -> int:
    """The number between `low` and `high` that can be halved most often. There is only one."""
    step = 1
    while high // (2 * step) * (2 * step) >= low:
        step *= 2
    return high // step * step


def _tool_spans(messages: Sequence[BaseMessage]) -> dict[int, int]:
    """For the position of a message with tool calls: the position of the last result of one of them."""
    called_at: dict[str | None, int] = {}
    spans: dict[int, int] = {}
    for i, message in enumerate(messages):
        if isinstance(message, AIMessage):
            called_at |= {call["id"]: i for call in [*message.tool_calls, *message.invalid_tool_calls]}
        elif isinstance(message, ToolMessage) and message.tool_call_id in called_at:
            spans[called_at[message.tool_call_id]] = i
    return spans
