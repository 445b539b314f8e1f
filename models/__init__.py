"""Models: the engine over llama.cpp, `ChatGGUF` for LangChain, and the catalogue of model files.

Knows settings and errors; knows nothing of conversations, documents, tools or pages.
"""

from phireside.models.bound import checked_settings, known_settings, unbound
from phireside.models.catalog import Catalog, ModelEntry, ModelInfo
from phireside.models.chat import ChatGGUF, StopSignal
from phireside.models.engine import Engine, Priority, Request, Sampling, Score, Usage
from phireside.models.grammar import Grammar
from phireside.models.load import load_chat_model
from phireside.models.next_tokens import NextTokens
from phireside.models.runtime import forget_state
from phireside.models.sampling import PRESETS, Preset, SamplingChoice, settings_of

__all__ = [
    "ChatGGUF", "StopSignal", "load_chat_model", "Catalog", "ModelEntry", "ModelInfo", "Engine", "Request", "Sampling",
    "Priority", "Usage", "Score", "NextTokens", "Grammar", "PRESETS", "Preset",
    "SamplingChoice", "settings_of", "unbound", "known_settings", "checked_settings", "forget_state",
]  # fmt: skip
