"""Memory: the conversation store, and which messages of a conversation are sent to the model.

The store knows LangChain's messages and our errors only. The strategies (`contract.py` says what they have in common)
take any `BaseChatModel`, and count exactly with `ChatGGUF`.

The strategies are imported when one is first asked for: as middleware of agents they bring all of LangChain's agents
with them, which takes longer than to open the store.
"""

from typing import TYPE_CHECKING

from phireside.lazy import lazy
from phireside.memory.named import MEMORIES, memory_named
from phireside.memory.remembered import Fact, FactStore
from phireside.memory.schema import JSON
from phireside.memory.state import Compaction, CountTokens, MemoryState, Selection
from phireside.memory.store import Conversation, ConversationStore, default_title

if TYPE_CHECKING:
    from phireside.memory.budget import Budget, budget_of, counter_of
    from phireside.memory.buffer import BufferMemory
    from phireside.memory.contract import Memory
    from phireside.memory.facts import statements
    from phireside.memory.summary import SummaryMemory
    from phireside.memory.summary_buffer import SummaryBufferMemory
    from phireside.memory.window import WindowMemory
else:
    __getattr__ = lazy(
        __name__,
        {
            "Memory": "contract",
            "BufferMemory": "buffer",
            "WindowMemory": "window",
            "SummaryMemory": "summary",
            "SummaryBufferMemory": "summary_buffer",
            "Budget": "budget",
            "budget_of": "budget",
            "statements": "facts",
            "counter_of": "budget",
        },
    )


__all__ = [
    "ConversationStore", "Conversation", "default_title", "JSON", "Fact", "FactStore",
    "MEMORIES", "memory_named", "statements",
    "Memory", "BufferMemory", "WindowMemory", "SummaryMemory", "SummaryBufferMemory",
    "MemoryState", "Selection", "Compaction", "CountTokens", "Budget", "budget_of", "counter_of",
]  # fmt: skip
