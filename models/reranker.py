"""Rerankers: how well a passage answers a query, by models that read both together. LangChain's `BaseCrossEncoder`.

Any of LangChain's can be given where one of these can. Knows no base and no search: it scores pairs of texts.
"""

import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
from langchain_core.cross_encoders import BaseCrossEncoder

from phireside.errors import ModelLoadError
from phireside.models.chat import ChatGGUF
from phireside.models.embeddings import SentenceEmbeddings, model_folder, quiet

Pairs = list[tuple[str, str]]  # query, passage

_PROMPT = "Query: {query}\n\nPassage: {passage}\n\nIs the passage relevant to the query? Answer Yes or No."
_AT_ONCE = 8  # passages whose scores are asked for together


class SentenceCrossEncoder(BaseCrossEncoder):
    """A cross-encoder of sentence-transformers. Nothing is loaded before the first score.

    Args:
        name: a folder, or a name on the hub: `cross-encoder/ms-marco-MiniLM-L6-v2`, `BAAI/bge-reranker-base`.
        batch: pairs that are computed together.

    Raises:
        ModelNotFoundError: the model is not on this machine and cannot be fetched.
        ModelLoadError: (at the first score) its files cannot be used.
    """

    def __init__(self, name: str, *, batch: int = 32) -> None:
        self.name, self.batch = name, batch
        self.folder = model_folder(name)
        self._turn = threading.Lock()  # a tokenizer must not be used by two threads at once

    def score(self, text_pairs: Pairs) -> list[float]:
        """One score for each pair, higher is better; between 0 and 1 for most models."""
        with self._turn:
            found = self._model.predict(list(text_pairs), batch_size=self.batch, show_progress_bar=False)
        return [float(each) for each in found]

    @cached_property
    def _model(self) -> Any:  # a `CrossEncoder`, whose constructor has no types
        from sentence_transformers import CrossEncoder

        try:
            with quiet():
                return CrossEncoder(str(self.folder), local_files_only=True, model_kwargs={"use_safetensors": True})
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            raise ModelLoadError(
                f"The cross-encoder in {self.folder} cannot be loaded: {error!s:.300}",
                hint="It must be a cross-encoder of sentence-transformers with safetensors weights.",
            ) from error


class YesOrNo(BaseCrossEncoder):
    """How much more probable "Yes" is than "No" when a chat model is asked whether a passage is relevant.

    The query stands before the passage: all prompts of one query share its tokens, which are evaluated once, and their
    scores are computed in one batch. (Nogueira, Jiang, Pradeep & Lin, "Document Ranking with a Pretrained
    Sequence-to-Sequence Model", 2020, of a model that was trained for it; this one was not.)

    Args:
        model: a model whose scores can be had.
        characters: of a passage that are read, at most.
    """

    def __init__(self, model: ChatGGUF, *, characters: int = 2000) -> None:
        self._model, self._characters = model, characters

    def score(self, text_pairs: Pairs) -> list[float]:
        """Log-probability of "Yes" minus that of "No", for each pair."""
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return list(threads.map(self._one, text_pairs))

    def _one(self, pair: tuple[str, str]) -> float:
        prompt = _PROMPT.format(query=pair[0], passage=pair[1][: self._characters])
        yes, no = self._model.score([("human", prompt)], ["Yes", "No"])
        return yes.logprob - no.logprob


class LateInteraction(BaseCrossEncoder):
    """The mean, over the query's tokens, of the cosine to the passage's most similar token.

    Khattab & Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over BERT",
    SIGIR 2020. A model that was not trained for it orders worse than what it is given: docs/evaluation.md has figures.

    Args:
        embeddings: whose token vectors are compared.
    """

    def __init__(self, embeddings: SentenceEmbeddings) -> None:
        self._embeddings = embeddings

    def score(self, text_pairs: Pairs) -> list[float]:
        """Between -1 and 1 for each pair."""
        scores = [0.0] * len(text_pairs)
        by_query: dict[str, list[int]] = defaultdict(list)
        for place, (query, _) in enumerate(text_pairs):
            by_query[query].append(place)
        for query, places in by_query.items():
            for place, score in zip(places, self._scores(query, [text_pairs[at][1] for at in places]), strict=True):
                scores[place] = score
        return scores

    def _scores(self, query: str, passages: Sequence[str]) -> list[float]:
        asked, *read = self._embeddings.token_vectors([query, *passages])
        return [float(np.max(asked @ each.T, axis=1).mean()) if asked.size and each.size else -1.0 for each in read]


def reranker(name: str, **options: Any) -> BaseCrossEncoder:
    """The reranker of a name.

    Args:
        name: `late:starter` (late interaction; any embedding model after the colon), `chat:phi-3` (a chat model's yes
            or no), or a cross-encoder's folder or name on the hub.
        options: of the class.
    """
    kind, _, model = name.partition(":")
    if kind == "late" and model:
        return LateInteraction(SentenceEmbeddings(model), **options)
    if kind == "chat" and model:
        return YesOrNo(ChatGGUF(model=model), **options)
    return SentenceCrossEncoder(name, **options)
