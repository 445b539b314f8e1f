"""Window memory: the last few turns."""

from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from phireside.errors import RequestError
from phireside.memory.contract import Memory
from phireside.memory.state import NOTHING, CountTokens, MemoryState, Selection
from phireside.memory.turns import Tails, newest_that_fit, turn_starts


class WindowMemory(Memory):
    """Sends the last turns before the question: never more than `k`, and once there were more, at least half of `k`.

    A window that moved at each question would begin the prompt otherwise each time, and nothing would be found in the
    cache. So it moves by `k // 2 + 1` turns at once, and which turns it has depends on their number alone.

    Args:
        k: most turns before the question (the book's chapter 7 has 2); 0 = the question alone.
        model, budget: see `Memory`.

    Raises:
        RequestError: `k` is negative.
    """

    def __init__(self, k: int, *, model: BaseChatModel | None = None, budget: int | None = None) -> None:
        super().__init__(model=model, budget=budget)
        if k < 0:
            raise RequestError(f"k is {k}, but must be a number of turns, at least 0.")
        self.k = k

    def select(
        self,
        messages: Sequence[BaseMessage],
        budget: int,
        count_tokens: CountTokens,
        state: MemoryState = NOTHING,  # noqa: ARG002
    ) -> Selection:
        """See `Memory.select`; the state is not used."""
        starts = turn_starts(messages)
        too_many, block = max(0, len(starts) - 1 - self.k), self.k // 2 + 1
        first = -(-too_many // block) * block  # rounded up to whole blocks
        return newest_that_fit(Tails(messages, count_tokens), starts, first, budget)
