"""LangChain's `Embeddings` of any kind, with what they return checked. Knows no base.

Vectors are float32 of length 1, so that their inner product is the cosine. What an embedder raises, a wrong number of
vectors, unequal lengths, NaN or infinity are a KnowledgeError before anything is written.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from phireside.errors import KnowledgeError
from phireside.text import clean_text

Vectors = NDArray[np.float32]

PROBE_TEXT = "Phireside keeps a fire going by the side of a lake."
_SAME = 0.99  # cosine of two vectors of the probe: bfloat16 rounds to 0.996, other models differ by far more
_CHARACTERS_PER_TOKEN = 4
_AT_ONCE = 1024  # texts that are embedded in one call


class Embedder:
    """What a base needs of an embedding model.

    Args:
        embeddings: LangChain's. `encode(texts)` (a matrix), `identity` and `count_tokens(text)` are used where it has
            them, as `phireside.models.embeddings` does.
    """

    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings

    @cached_property
    def identity(self) -> str:
        """The model's own identity; empty if it states none. Then its vectors for a text are compared."""
        return clean_text(str(getattr(self.embeddings, "identity", "") or ""))

    @cached_property
    def name(self) -> str:
        """For people: the identity, or class and model."""
        model = getattr(self.embeddings, "model_name", None) or getattr(self.embeddings, "model", None)
        known = f" {model}" if isinstance(model, str) else ""
        return self.identity or clean_text(f"{type(self.embeddings).__name__}{known}")

    @cached_property
    def probe(self) -> Vectors:
        """The vector of a text that is always the same, of shape (size,)."""
        made: Vectors = self.passages([PROBE_TEXT])[0]
        return made

    def is_probe(self, stored: Vectors) -> bool:
        """Whether a stored probe was made by this model."""
        return stored.shape == self.probe.shape and float(stored @ self.probe) > _SAME

    def expect(self, vectors: Vectors, size: int) -> None:
        """Refuse vectors of another length than the base's."""
        if vectors.shape[1] != size:
            self.forget_probe()
            raise self._failed(f"gave vectors of {vectors.shape[1]} numbers; the base has {size}")

    def forget_probe(self) -> None:
        """Ask for it again the next time: a model that was wrong once may be right then."""
        self.__dict__.pop("probe", None)

    def passages(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts that are stored, of shape (len(texts), size)."""
        if not texts:
            return np.zeros((0, 0), np.float32)
        encode = getattr(self.embeddings, "encode", self.embeddings.embed_documents)
        try:
            made = encode(list(texts))
        except Exception as error:  # anybody's code
            raise self._failed(f"failed on {len(texts)} texts: {type(error).__name__}: {error}") from error
        return self.checked(made, len(texts))

    def all_passages(self, texts: Sequence[str]) -> Vectors:
        """The same for any number of texts, some at a time."""
        parts = [self.passages(texts[start : start + _AT_ONCE]) for start in range(0, len(texts), _AT_ONCE)]
        if len({part.shape[1] for part in parts}) > 1:
            raise self._failed("gave vectors of different lengths")
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def query(self, text: str) -> Vectors:
        """The vector of a question, of shape (size,)."""
        try:
            made = self.embeddings.embed_query(clean_text(text))
        except Exception as error:  # anybody's code
            raise self._failed(f"failed on a question: {type(error).__name__}: {error}") from error
        checked: Vectors = self.checked([made], 1)[0]
        return checked

    def count_tokens(self, text: str) -> int:
        """Tokens of a text; where the model cannot count them, a quarter of its characters."""
        count = getattr(self.embeddings, "count_tokens", None)
        return int(count(text)) if count else -(-len(text) // _CHARACTERS_PER_TOKEN)

    def checked(self, made: object, count: int) -> Vectors:
        """Anybody's vectors as a matrix of `count` rows, each of length 1."""
        try:
            with np.errstate(over="ignore"):  # too large for float32: infinite, which is told below
                matrix = np.asarray(made, dtype=np.float32)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._failed(f"gave vectors of unequal lengths, or no numbers: {error}") from error
        if matrix.ndim != 2 or len(matrix) != count or not matrix.shape[1]:
            raise self._failed(f"gave an array of shape {matrix.shape} for {count} texts")
        if bad := int((~np.isfinite(matrix).all(axis=1)).sum()):
            raise self._failed(f"gave {bad} of {count} vectors with NaN or infinity in them")
        return normalized(matrix)

    def _failed(self, what: str) -> KnowledgeError:
        return KnowledgeError(
            f"The embedding model {self.name} {what}.", hint="Nothing of it was saved. Check the model and try again."
        )


def normalized(matrix: Vectors) -> Vectors:
    """Rows of a matrix, or a vector, divided by their length; zeros stay zeros."""
    lengths = np.linalg.norm(matrix.astype(np.float64), axis=-1, keepdims=True)
    return (matrix / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def as_bytes(keys: Sequence[str], vectors: Vectors) -> dict[str, bytes]:
    """By key, vectors as SQLite keeps them."""
    return {key: row.astype("<f4").tobytes() for key, row in zip(keys, vectors, strict=True)}
