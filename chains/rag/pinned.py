"""Whole small documents that stand in every prompt, instead of what a search finds. Knows nothing of prompts."""

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from phireside.errors import RequestError


class Pinned(BaseRetriever):
    """Finds all of its documents, always in the same order."""

    documents: list[Document]

    def _get_relevant_documents(
        self,
        query: str,  # noqa: ARG002
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002
    ) -> list[Document]:
        return list(self.documents)


def pinned(documents: Sequence[Document]) -> Pinned:
    """A retriever for `rag_chain` that puts whole documents into every prompt.

    With `ChatGGUF` they are read once. `rag_chain(…, keep="a name")` and `chain.pin()` read them ahead and keep the KV
    state on disk, so that questions start at once, also in another process.

    Args:
        documents: at least one with text. Each is a passage with a number of its own.

    Raises:
        RequestError: there are none, or one is empty.
    """
    given: Any = documents if isinstance(documents, Sequence) else ()
    if not given or not all(isinstance(each, Document) and each.page_content.strip() for each in given):
        raise RequestError(f"The documents are {documents!r:.80}.", hint="Pass a list of documents, each with text.")
    return Pinned(documents=list(given))
