"""Observations no longer than an agent has room for; the same call again reads on.

No tool of its own: it would stand in every prompt, and a small model confuses tools that it does not need. A result
with images or files is left as it is, however long its text.
"""

from collections.abc import Callable

from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import ToolMessage

from phireside.agents.policies.plan import ToolPlan, ToolPolicy, each_message
from phireside.agents.policies.turn import READ, UNREAD, earlier, left_to_read
from phireside.models import ChatGGUF

READ_ON = "\n[… The same call again reads on.]"

_MOST_CHARACTERS = 16  # of a token, on average: more are not looked at
_CHARACTERS = 4  # of a token, for models that do not count
_KEPT = 200_000  # characters to read on in; a checkpointer saves them with each step


class Observations(ToolPolicy):
    """Shortens observations.

    Args:
        tokens: of an observation, without the note that there is more.
        model: counts them; exact with ChatGGUF, else four characters are taken for a token.
    """

    def __init__(self, tokens: int, model: BaseChatModel) -> None:
        super().__init__()
        self._tokens, self._count = tokens, counter(model)

    def tool_call(self, request: ToolCallRequest) -> ToolPlan:
        """See `ToolPolicy`."""
        call = request.tool_call
        if there := left_to_read(earlier(request.state["messages"], call)):
            return self._next_part(*there, call["id"] or "")
        return each_message((yield request), self.shortened)

    def _next_part(self, first: ToolMessage, read: int, call_id: str) -> ToolMessage:
        rest = first.response_metadata[UNREAD][read:]
        end = self._fitting(rest)
        text = rest if end == len(rest) else rest[:end].rstrip() + READ_ON
        metadata = {READ: read + end}
        return ToolMessage(text, name=first.name, tool_call_id=call_id, status=first.status, response_metadata=metadata)

    def shortened(self, message: ToolMessage) -> ToolMessage:
        """The observation's beginning, with the rest in its `response_metadata`."""
        blocks = [] if isinstance(message.content, str) else message.content
        if any(not isinstance(block, str) and block.get("type") != "text" for block in blocks):
            return message  # images and files, which some models read
        text = message.text
        if (end := self._fitting(text)) == len(text):
            return message
        rest, lost = text[end : end + _KEPT], len(text) - end - _KEPT
        if lost > 0:
            rest += f"\n[… {lost} more characters were not kept.]"
        metadata = {**message.response_metadata, UNREAD: rest}
        return message.model_copy(update={"content": text[:end].rstrip() + READ_ON, "response_metadata": metadata})

    def _fitting(self, text: str) -> int:
        """How many characters fit, ended between two words."""
        low, high = 0, min(len(text), self._tokens * _MOST_CHARACTERS)
        if high == len(text) and self._count(text) <= self._tokens:
            return high
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._count(text[:middle]) <= self._tokens else (low, middle - 1)
        word = max(text.rfind(" ", 0, low), text.rfind("\n", 0, low)) + 1
        return word if word > low // 2 else max(low, 1)  # at least something, so that reading on ends


def counter(model: BaseChatModel) -> Callable[[str], int]:
    """How a model counts the tokens of a text."""
    if isinstance(model, ChatGGUF):
        return lambda text: len(model.get_token_ids(text))
    return lambda text: -(-len(text) // _CHARACTERS)
