"""The settings' embedding model for a command, which says when it has to be loaded: that takes seconds."""

import sys
from typing import Any

from langchain_core.embeddings import Embeddings

from phireside.cli.output import tell
from phireside.models.embeddings import embeddings


class _Announced(Embeddings):
    """A model that tells before its first use."""

    def __init__(self, model: Embeddings) -> None:
        self._model, self._told = model, False

    def __getattr__(self, name: str) -> Any:
        if name == "encode":
            self._tell()
        return getattr(self._model, name)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self._tell()
        return self._model.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        self._tell()
        return self._model.embed_query(text)

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            tell("Loading the embedding model…")


def embedding_model(name: str) -> Embeddings:
    """The embedding model of a name. On a terminal it says so when it is loaded, with the first text."""
    model = embeddings(name)
    return _Announced(model) if sys.stderr.isatty() else model
