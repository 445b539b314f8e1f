"""Buffer memory: the whole conversation, and when it does not fit, the newest whole turns of it."""

from collections.abc import Sequence

from langchain_core.messages import BaseMessage

from phireside.memory.contract import Memory
from phireside.memory.state import NOTHING, CountTokens, MemoryState, Selection
from phireside.memory.turns import Tails, newest_that_fit, turn_starts


class BufferMemory(Memory):
    """Sends everything while it fits; then leaves out the oldest turns, in blocks (`turns.newest_that_fit`).

    Args:
        model, budget: see `Memory`.
    """

    def select(
        self,
        messages: Sequence[BaseMessage],
        budget: int,
        count_tokens: CountTokens,
        state: MemoryState = NOTHING,  # noqa: ARG002
    ) -> Selection:
        """See `Memory.select`; the state is not used."""
        return newest_that_fit(Tails(messages, count_tokens), turn_starts(messages), 0, budget)
