"""`HybridRetriever`: search as a LangChain retriever. What it gives out are chunks, with the stages' ranks in them."""

from dataclasses import replace
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict

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
        count = k if k is not None else self.k
        how = self.how if count is None else replace(self.how, k=count)
        return [_explained(hit.document, score=hit.score, ranks=dict(hit.ranks), scores=dict(hit.scores))
                for hit in search(self.base, query, how)]  # fmt: skip


def _explained(document: Document, **found: Any) -> Document:
    return Document(id=document.id, page_content=document.page_content, metadata={**document.metadata, **found})
