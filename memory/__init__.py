"""Memory: the conversation store, and which messages of a conversation are sent to the model.

The store knows LangChain's messages and our errors only. The strategies (`contract.py` says what they have in common)
take any `BaseChatModel`, and count exactly with `ChatGGUF`.

The strategies are imported when one is first asked for: as middleware of agents they bring all of LangChain's agents
with them, which takes longer than to open the store.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from phireside.memory.schema import JSON
from phireside.memory.state import Compaction, CountTokens, MemoryState, Selection
from phireside.memory.store import Conversation, ConversationStore, default_title

if TYPE_CHECKING:
    from phireside.memory.budget import Budget, budget_of, counter_of
    from phireside.memory.buffer import BufferMemory
    from phireside.memory.contract import Memory
    from phireside.memory.summary import SummaryMemory
    from phireside.memory.summary_buffer import SummaryBufferMemory
    from phireside.memory.window import WindowMemory
else:
    _LAZY = {
        "Memory": "contract",
        "BufferMemory": "buffer",
        "WindowMemory": "window",
        "SummaryMemory": "summary",
        "SummaryBufferMemory": "summary_buffer",
        "Budget": "budget",
        "budget_of": "budget",
        "counter_of": "budget",
    }

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


__all__ = [
    "ConversationStore", "Conversation", "default_title", "JSON",
    "Memory", "BufferMemory", "WindowMemory", "SummaryMemory", "SummaryBufferMemory",
    "MemoryState", "Selection", "Compaction", "CountTokens", "Budget", "budget_of", "counter_of",
]  # fmt: skip
