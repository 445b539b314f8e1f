"""Phireside makes a small language model on your own machine dependable.

This room holds what every other room may use: settings, errors, paths, and the command line. It knows nothing of
llama.cpp, LangChain or Streamlit; `import phireside` costs milliseconds.
"""

from phireside.errors import PhiresideError
from phireside.settings import EngineSettings, Settings

__all__ = ["PhiresideError", "Settings", "EngineSettings"]

__version__ = "0.1.0"
