"""Summary + buffer memory: the newest turns as they are, the older ones as a summary."""

from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel

from phireside.errors import RequestError
from phireside.memory.budget import UNLIMITED
from phireside.memory.summary import SummaryMemory
from phireside.memory.turns import Tails, first_where

RECENT_TOKENS = 2000
"""For a model that does not say how much it reads: as many as LangChain's `ConversationSummaryBufferMemory` keeps."""
FULL, LEFT = 85, 30
"""Per cent: of the room for turns, when older ones are summarised; and of that, what is left of them."""


class SummaryBufferMemory(SummaryMemory):
    """Sends the newest turns and a summary of those before them.

    Turns gather until they have `recent_tokens`; then, after the answer, the older ones go into the summary until less
    than a third of that is left. In between prompts only grow at their end. Each compaction reads twice what it leaves,
    so that late and thorough ones are the cheapest.

    Args:
        recent_tokens: that turns may have before older ones are summarised; None = 85 % of what the system prompt
            and the summary leave, and where nobody knows how much the model reads, `RECENT_TOKENS`.
        max_tokens, max_facts, model, budget: see `SummaryMemory`.

    Raises:
        RequestError: a number is out of range.
    """

    def __init__(
        self,
        *,
        recent_tokens: int | None = None,
        max_tokens: int = 256,
        max_facts: int = 24,
        model: BaseChatModel | None = None,
        budget: int | None = None,
    ) -> None:
        super().__init__(max_tokens=max_tokens, max_facts=max_facts, model=model, budget=budget)
        if recent_tokens is not None and recent_tokens < 0:
            raise RequestError(f"recent_tokens is {recent_tokens}, but must be at least 0.")
        self.recent_tokens = recent_tokens

    def _end(self, tails: Tails, starts: Sequence[int], first: int, ready: int, budget: int) -> int:
        """The first turn that stays as it is; the last one always does."""

        def tokens(turn: int) -> int:
            return tails.count(tails.messages[starts[turn] :])

        last = len(starts) - 2
        if first >= last:
            return first
        own = tokens(first)
        room = max(0, budget - (tails.at(starts[first]).tokens - own))
        wanted = RECENT_TOKENS if self.recent_tokens is None and budget == UNLIMITED else self.recent_tokens
        most = room * FULL // 100 if wanted is None else min(wanted, room * FULL // 100)
        if own <= most:
            return first
        return min(ready, first_where(first + 1, last, lambda turn: 100 * tokens(turn) <= LEFT * most))
