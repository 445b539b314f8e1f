"""Searches for passages: one query, or several that are fused; one base, or the one that fits; once, or step by step.

Each part is off unless it is asked for. What a model decides here (a query, a base, whether to go on) is decoded in a
form. Knows LangChain's retrievers and nothing of how they search.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable

from phireside.chains.classify import Classified
from phireside.chains.cost import Cost
from phireside.chains.forms import Form, ask, json_form, regex
from phireside.chains.loop import in_thread, together
from phireside.chains.prompt_files import PromptFile
from phireside.chains.rag.placing import numbered
from phireside.chains.rag.words import content
from phireside.errors import KnowledgeError, PhiresideError
from phireside.models import known_settings
from phireside.retrieval.fusion import reciprocal_rank_fusion
from phireside.retrieval.retriever import passage_key as key

NO_SEARCH = "none"
_TURNS = 6  # messages of the conversation that a rewriter reads
_ENOUGH, _SEARCH = "ENOUGH", "SEARCH: "


@dataclass(frozen=True)
class Found:
    """What a search gave.

    Attributes:
        passages: the best first.
        queries: what was searched for.
        base: which base was searched; "none" = no search was needed.
        cost: of the model's calls.
    """

    passages: tuple[Document, ...] = ()
    queries: tuple[str, ...] = ()
    base: str = ""
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True)
class Searching:
    """See `rag_chain` for all of them."""

    model: BaseChatModel
    file: PromptFile
    bases: Mapping[str, BaseRetriever]
    router: Runnable[str, Classified] | None
    passages: int
    rewrite: bool
    queries: int
    hops: int

    async def find(self, question: str, history: Sequence[BaseMessage]) -> Found:
        """Passages for a question."""
        found = Found(queries=(question,))
        if self.rewrite and history:
            found = await self._rewritten(question, history, found)
        if self.router:
            routed = await self.router.ainvoke(found.queries[0])
            found = Found((), found.queries, routed.label, found.cost + routed.cost)
            if routed.label not in self.bases:
                return Found((), (), NO_SEARCH, found.cost)
        else:
            found = Found((), found.queries, next(iter(self.bases)), found.cost)
        if self.queries > 1:
            found = await self._several(found)
        found = await self._searched(found, found.queries)
        for _ in range(self.hops - 1):
            query, cost = await self._next(found)
            found = Found(found.passages, found.queries, found.base, found.cost + cost)
            if not query or query in found.queries:
                break
            found = await self._searched(found, (query,))
        return found

    async def _searched(self, found: Found, queries: Sequence[str]) -> Found:
        """All queries at once, fused; behind them what was there before keeps its place, half of the room at least."""
        retriever = self.bases[found.base]
        lists = await together(_ask(retriever, query) for query in queries)
        fused = fuse(lists)
        before = found.passages[: self.passages // 2] if found.passages else ()
        known = {key(each) for each in before}
        merged = (*before, *(each for each in fused if key(each) not in known), *found.passages[len(before) :])
        asked = (*found.queries, *(query for query in queries if query not in found.queries))
        return Found(tuple(unique(merged)[: self.passages]), asked, found.base, found.cost)

    async def _rewritten(self, question: str, history: Sequence[BaseMessage], found: Found) -> Found:
        said = [f"{'Question' if isinstance(m, HumanMessage) else 'Answer'}: {m.text}" for m in history[-_TURNS:]]
        messages = self.file.messages("rewrite", history="\n".join(said), question=question)
        text, cost = await self._write(messages, regex(r"[^\s][^\r\n]{2,200}\?"))
        shared = content(text) & content("\n".join([*said, question]))
        return Found(found.passages, (text if shared else question,), found.base, found.cost + cost)

    async def _several(self, found: Found) -> Found:
        count = self.queries - 1
        schema = {"type": "string", "minLength": 3, "maxLength": 100}
        form = json_form({"type": "array", "items": schema, "minItems": count, "maxItems": count})
        messages = self.file.messages("queries", question=found.queries[0], count=count)
        decoded = await ask(self.model, messages, form, **known_settings(self.model, {"max_tokens": 48 * count + 16}))
        others = [each.strip() for each in decoded.value if each.strip()]
        queries = tuple(dict.fromkeys([*found.queries, *others]))
        return Found(found.passages, queries, found.base, found.cost + decoded.cost)

    async def _next(self, found: Found) -> tuple[str, Cost]:
        """What to search for next; empty = what was found is enough."""
        shown = numbered(found.passages) or "(none)"
        messages = self.file.messages("hop", passages=shown, question=found.queries[0])
        text, cost = await self._write(messages, regex(rf"{_ENOUGH}|{_SEARCH}[^\s][^\r\n]{{2,100}}"))
        return ("" if text == _ENOUGH else text.removeprefix(_SEARCH).strip()), cost

    async def _write(self, messages: list[BaseMessage], form: Form[str]) -> tuple[str, Cost]:
        decoded = await ask(self.model, messages, form, **known_settings(self.model, {"max_tokens": 80}))
        return decoded.value.strip(), decoded.cost


async def _ask(retriever: BaseRetriever, query: str) -> list[Document]:
    try:
        try:
            return await retriever.ainvoke(query)
        except (AssertionError, NotImplementedError) as error:  # of a store that was not made for async calls: PGVector
            if isinstance(error, PhiresideError):
                raise
            return await in_thread(retriever.invoke, query)
    except PhiresideError:
        raise
    except Exception as error:  # a retriever of another library raises what it likes
        raise KnowledgeError(
            f"The documents cannot be searched: {type(error).__name__}: {error!s:.200}.",
            hint="See whether the retriever works alone: retriever.invoke(question).",
        ) from error


def fuse(lists: Sequence[Sequence[Document]]) -> list[Document]:
    """Several rankings as one, by reciprocal ranks."""
    documents = {key(each): each for each in unique([each for ranked in lists for each in ranked])}
    rankings = [[(key(each), 0.0) for each in unique(ranked)] for ranked in lists]
    return [documents[each] for each, _ in reciprocal_rank_fusion(rankings)]


def unique(documents: Sequence[Document]) -> list[Document]:
    """Each once, in order; none without text."""
    found: dict[str, Document] = {}
    for each in documents:
        if each.page_content.strip():
            found.setdefault(key(each), each)
    return list(found.values())
