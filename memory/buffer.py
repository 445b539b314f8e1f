"""Buffer memory: the whole conversation, and when it does not fit, the newest whole turns of it.

Knows messages and a budget of tokens. How tokens are counted is the caller's: `count_tokens` renders the model's chat
template and is not cheap, so it is called a few times only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from phireside.errors import ContextOverflowError


@dataclass(frozen=True)
class Selection:
    """What is sent to the model.

    Attributes:
        messages: the messages, in order.
        left_out: how many messages of the conversation are not among them.
        tokens: what `count_tokens` says of `messages`.
    """

    messages: list[BaseMessage]
    left_out: int
    tokens: int


class BufferMemory:
    """Keeps everything while it fits; then leaves out whole turns, the oldest first.

    Every system message and the last user turn always survive. A turn begins at a user message; where a tool's result
    comes only after the next one, the two turns count as one, so that no call is separated from its result.
    """

    def select(
        self, messages: Sequence[BaseMessage], budget: int, count_tokens: Callable[[Sequence[BaseMessage]], int]
    ) -> Selection:
        """The longest tail of the conversation, in whole turns, that fits with the system prompt.

        Args:
            messages: the conversation, with the new user message at its end.
            budget: tokens that the prompt may have.
            count_tokens: tokens of a list of messages as a prompt; more messages have more tokens. It is called once
                if all fits, otherwise at most log2(turns) + 3 times.

        Raises:
            ContextOverflowError: the system prompt and the last turn alone exceed the budget.
        """
        borders = _turn_starts(messages)

        def tail(start: int) -> Selection:
            kept = [message for i, message in enumerate(messages) if i >= start or isinstance(message, SystemMessage)]
            return Selection(kept, len(messages) - len(kept), count_tokens(kept) if kept else 0)

        whole = tail(0)
        if whole.tokens <= budget:
            return whole
        best = tail(borders[-1]) if len(borders) > 1 else whole
        if best.tokens > budget:
            raise ContextOverflowError(
                f"The system prompt and the last turn have {best.tokens} tokens; there is room for {budget}.",
                hint="Shorten the message or the system prompt, let the answer be shorter, or load the model with a "
                "larger n_ctx.",
            )
        low, high = 1, len(borders) - 1  # borders[0] is too much, borders[high] fits
        while low < high:
            middle = (low + high) // 2
            tried = tail(borders[middle])
            if tried.tokens <= budget:
                best, high = tried, middle
            else:
                low = middle + 1
        return best


def _turn_starts(messages: Sequence[BaseMessage]) -> list[int]:
    """The positions at which a turn begins: 0, and each user message that no tool call reaches over to its result."""
    spans = _tool_spans(messages)
    starts, open_until, seen = [0], -1, False
    for i, message in enumerate(messages):
        if isinstance(message, HumanMessage) and i > open_until and seen:
            starts.append(i)
        open_until = max(open_until, spans.get(i, -1))
        seen = seen or not isinstance(message, SystemMessage)  # a system prompt alone is no turn: it is never left out
    return starts


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
