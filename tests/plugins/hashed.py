"""A small embedding model without weights: texts that share words are near each other."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from langchain_core.embeddings import Embeddings


class HashedEmbeddings(Embeddings):
    """The sum of a random vector for each word, drawn by the word's hash.

    Args:
        size: numbers in a vector.
        seed: another one is another model.

    Attributes:
        texts: that were embedded to be stored, all of them.
        fault: if set, raised in place of an answer to the next texts to be stored.
    """

    def __init__(self, size: int = 16, seed: int = 0) -> None:
        self.size, self.seed = size, seed
        self.texts: list[str] = []
        self.fault: Exception | None = None

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        if self.fault is not None:
            raise self.fault
        self.texts.extend(texts)
        return [self._vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self._vector(text)

    def _vector(self, text: str) -> list[float]:
        total = np.full(self.size, 1e-6)
        for word in text.lower().split():
            key = blake2b(f"{self.seed} {word}".encode(), digest_size=8).digest()
            total += np.random.default_rng(int.from_bytes(key)).normal(size=self.size)
        return [float(each) for each in total]
