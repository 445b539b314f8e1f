"""Observations no longer than an agent has room for; the same call again reads on.

No tool of its own: it would stand in every prompt, and a small model confuses tools that it does not need.
"""

from collections.abc import Callable

from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import ToolMessage

from phireside.agents.policies.plan import ToolPlan, ToolPolicy, each_message
from phireside.agents.policies.turn import UNREAD, earlier
from phireside.models import ChatGGUF

READ_ON = "\n[… The same call again reads on.]"

_MOST_CHARACTERS = 16  # of a token, on average: more are not looked at
_CHARACTERS = 4  # of a token, for models that do not count
_KEPT = 200_000  # characters to read on in


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
        before = earlier(request.state["messages"], call)
        if before and (rest := before[-1].unread):
            return self.shortened(ToolMessage(rest, name=call["name"], tool_call_id=call["id"] or ""))
        return each_message((yield request), self.shortened)

    def shortened(self, message: ToolMessage) -> ToolMessage:
        """The observation's beginning, with the rest in its `response_metadata`."""
        blocks = [] if isinstance(message.content, str) else message.content
        if any(not isinstance(block, str) and block.get("type") != "text" for block in blocks):
            return message  # images and files, which some models read
        text = message.text
        if (end := self._fitting(text)) == len(text):
            return message
        metadata = {**message.response_metadata, UNREAD: text[end : end + _KEPT]}
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
