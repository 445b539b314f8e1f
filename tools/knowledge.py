"""Tool: search the person's documents. What is found comes back as passages with numbers and sources.

Documents may have been written by strangers: its metadata says `untrusted`. Knows LangChain's retrievers and not how
they search.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Annotated, Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import BaseTool, tool
from langchain_core.vectorstores import VectorStore

from phireside.errors import PhiresideError, SettingsError, ToolError
from phireside.retrieval.retriever import passage_key, retriever_of

QUERY = r'[^\x00-\x1f\x7f"\\]{2,150}'
_LONGEST_QUERY, _SOURCE = 400, 120  # characters
_REMEMBERED = 200  # passages that keep their number
_NOTHING = "No passage was found for {!r}. Use other words once, or say that the documents do not have it."
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def knowledge(
    retriever: BaseRetriever | VectorStore | None = None,
    name: str = "knowledge",
    *,
    description: str = "Searches the person's documents. Returns passages with their numbers.",
    documents: Mapping[str, str] | None = None,
    passages: int = 3,
    longest: int = 4000,
) -> BaseTool:
    """A tool that searches documents.

    A passage has one number for as long as the tool lives, so that an agent that searches twice can cite both. The last
    200 are remembered.

    Args:
        retriever: a `KnowledgeBase`, or any of LangChain's retrievers and vector stores.
        name: for a model that has several bases to choose from.
        description: what the documents are about; the model reads it.
        documents: instead of a retriever: texts by their sources. A passage is found by the words it shares with the
            query: for a few small texts, as in scenarios.
        passages: that are returned, at most.
        longest: characters of all passages together; the tool says how many it left out.

    Returns:
        The tool `knowledge(query)`. Its text has `[n] source` and a passage each; its artifact is a list of dicts with
        "number", "source", "text" and "metadata". It raises ToolError if it cannot search.

    Raises:
        SettingsError: there are both documents and a retriever, or neither, or a number is below 1.
        RequestError: the retriever is none.
    """
    if (retriever is None) == (documents is None):
        raise SettingsError("knowledge needs a retriever, or documents.", hint="Give one of the two.")
    if passages < 1 or longest < 1:
        raise SettingsError(f"passages is {passages} and longest {longest}.", hint="Both must be at least 1.")
    found = retriever_of(retriever) if retriever is not None else WordRetriever.of(documents or {})
    numbers = Numbers()

    def search(query: Annotated[str, "a few words"]) -> tuple[str, list[dict[str, Any]]]:
        query = " ".join(query.split())[:_LONGEST_QUERY]
        if not query:
            raise ToolError("The query is empty.", hint="Write a few words to search for.")
        hits = _asked(found, query)[:passages]
        rows = [{**_row(hit), "number": numbers.of(hit)} for hit in hits]
        return _text(rows, longest) or _NOTHING.format(query), rows

    made = tool(name, response_format="content_and_artifact", description=description)(search)
    made.metadata = {"grammars": {"query": {"regex": QUERY}}, "effects": "none", "untrusted": True}
    return made


class Numbers:
    """Numbers for passages: the same one for the same passage, from 1."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, int] = OrderedDict()
        self._last = 0

    def of(self, passage: Document) -> int:
        """The number of a passage."""
        key = passage_key(passage)
        if key not in self._known:
            self._last += 1
            self._known[key] = self._last
        self._known.move_to_end(key)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return self._known[key]


class WordRetriever(BaseRetriever):
    """Finds paragraphs of a few small texts by the words that they share with a query; keeps everything in memory."""

    rows: list[Document]
    words: list[frozenset[str]]

    @classmethod
    def of(cls, documents: Mapping[str, str]) -> "WordRetriever":
        """A retriever over texts by their sources; each paragraph is a passage."""
        rows = [
            Document(part.strip(), id=f"{source}#{number}", metadata={"source": source})
            for source, text in documents.items()
            for number, part in enumerate(re.split(r"\n\s*\n", text))
            if part.strip()
        ]
        return cls(rows=rows, words=[_words(row.page_content) for row in rows])

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:  # noqa: ARG002
        asked = _words(query)
        shared = [len(asked & words) for words in self.words]
        order = sorted(range(len(self.rows)), key=lambda at: -shared[at])
        return [self.rows[at] for at in order if shared[at]]


def _words(text: str) -> frozenset[str]:
    return frozenset(word.rstrip("s")[:5] for word in re.findall(r"\w{3,}", text.lower()))  # in place of a stem


def _asked(retriever: BaseRetriever, query: str) -> list[Document]:
    try:
        return [hit for hit in retriever.invoke(query) if hit.page_content.strip()]
    except PhiresideError as error:
        raise ToolError(f"The documents cannot be searched: {error.message}", hint=error.hint) from error
    except Exception as error:  # a retriever of another library raises what it likes
        raise ToolError(
            f"The documents cannot be searched: {type(error).__name__}: {error!s:.200}.",
            hint="Answer without them, and say so.",
        ) from error


def _row(hit: Document) -> dict[str, Any]:
    where = str(hit.metadata.get("title") or hit.metadata.get("source") or "")
    page = hit.metadata.get("page")
    source = _line(where) + (f", page {_line(str(page))}" if page else "")
    return {"source": source, "text": _harmless(hit.page_content).strip(), "metadata": dict(hit.metadata)}


def _line(text: str) -> str:
    return " ".join(_harmless(text).split())[:_SOURCE]


def _harmless(text: str) -> str:
    return re.sub(r"\[([0-9]+)\]", r"(\1)", _CONTROL.sub(" ", text))


def _text(rows: list[dict[str, Any]], longest: int) -> str:
    """What the model reads: whole passages while they fit, then one that is cut."""
    shown, left = [], longest
    for row in rows:
        text = row["text"] if len(row["text"]) <= left else row["text"][:left].rstrip() + "…"
        if left <= 0:
            break
        shown.append(f"[{row['number']}] {row['source']}".rstrip() + f"\n{text}")
        left -= len(text)
    more = len(rows) - len(shown)
    return "\n\n".join(shown) + (f"\n\n({more} more passages left out.)" if more else "")
