"""`HybridRetriever`: search as a LangChain retriever. What it gives out are chunks, with the stages' ranks in them."""

from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict

from phireside.errors import RequestError
from phireside.retrieval.search import Search, search


class HybridRetriever(BaseRetriever):
    """See `phireside.retrieval.search.search`.

    Args:
        base: a `KnowledgeBase`, or any LangChain `VectorStore`.
        how: see `Search`.
        k: most documents, instead of `how.k`; also an argument of a call: `retriever.invoke(query, k=3)`.

    Returns (of a call):
        Documents whose metadata have "score", "ranks" and "scores" (see `Hit`) beside the chunk's own.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    base: VectorStore
    how: Search = Search()
    k: int | None = None

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 (LangChain reports the documents itself)
        k: int | None = None,
    ) -> list[Document]:
        return [_explained(hit.document, score=hit.score, ranks=dict(hit.ranks), scores=dict(hit.scores))
                for hit in search(self.base, query, self.how, k=k if k is not None else self.k)]  # fmt: skip


def retriever_of(given: BaseRetriever | VectorStore) -> BaseRetriever:
    """A retriever as it is; for a base or another `VectorStore` a `HybridRetriever` of it.

    Raises:
        RequestError: it is something else.
    """
    if isinstance(given, BaseRetriever):
        return given
    if isinstance(given, VectorStore):
        return HybridRetriever(base=given)
    raise RequestError(
        f"{given!r:.80} cannot be searched.", hint="Pass a KnowledgeBase, a LangChain retriever, or a VectorStore."
    )


def passage_key(document: Document) -> str:
    """What makes two passages the same: id, source and text. An id alone may be used twice, in two bases."""
    return "\0".join((document.id or "", str(document.metadata.get("source") or ""), document.page_content))


def _explained(document: Document, **found: Any) -> Document:
    return Document(id=document.id, page_content=document.page_content, metadata={**document.metadata, **found})
