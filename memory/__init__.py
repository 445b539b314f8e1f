"""Memory: the conversation store, and which messages of a conversation are sent to the model.

Knows LangChain's messages and our errors; knows nothing of models, documents or pages. Tokens are counted by a function
that the caller passes in.
"""

from phireside.memory.buffer import BufferMemory, Selection
from phireside.memory.schema import JSON
from phireside.memory.store import Conversation, ConversationStore, default_title

__all__ = ["ConversationStore", "Conversation", "default_title", "JSON", "BufferMemory", "Selection"]
