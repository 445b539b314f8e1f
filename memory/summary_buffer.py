"""Summary + buffer memory: the newest turns as they are, the older ones as a summary."""

from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel

from phireside.errors import RequestError
from phireside.memory.summary import SummaryMemory
from phireside.memory.turns import Tails, first_where


class SummaryBufferMemory(SummaryMemory):
    """Sends the newest turns and a summary of those before them.

    Turns gather until they have `recent_tokens`; then, after the answer, the older ones go into the summary until half
    of that is left. In between prompts only grow at their end.

    Args:
        recent_tokens: that turns may have before older ones are summarised; None = three quarters of what the system
            prompt and the summary leave. Where nobody knows how much the model reads, nothing is summarised without it.
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
        most = room * 3 // 4 if self.recent_tokens is None else min(self.recent_tokens, room * 3 // 4)
        if own <= most:
            return first
        return min(ready, first_where(first + 1, last, lambda turn: 2 * tokens(turn) <= most))
