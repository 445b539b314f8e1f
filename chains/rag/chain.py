"""`rag_chain`: a question is looked up, answered from the passages that were found, and what was said is checked.

After *Hands-On Large Language Models*, chapter 8. Knows LangChain's `BaseRetriever` and nothing of how one searches.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, convert_to_messages
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore

from phireside.chains.chain import Chain
from phireside.chains.classify import classify
from phireside.chains.cost import Cost
from phireside.chains.given import check_counts
from phireside.chains.long_text import Window
from phireside.chains.loop import gate, iterate, streamed
from phireside.chains.prompt_files import Override, PromptFile, load_prompts
from phireside.chains.rag.answer import UNKNOWN, Answer, Claim, asked, claims, without_none, without_unknown
from phireside.chains.rag.pinned import Pinned
from phireside.chains.rag.placing import Layout, Placed, shown
from phireside.chains.rag.searching import NO_SEARCH, Searching
from phireside.chains.rag.support import Judge, Support
from phireside.chains.rag.words import best, phrases, short_answer
from phireside.chains.rag.writing import cited_sentences
from phireside.errors import ContextOverflowError, NotSupportedError, RequestError
from phireside.models import ChatGGUF, known_settings, unbound
from phireside.retrieval.retriever import retriever_of
from phireside.text import clean_text

Searchable: TypeAlias = BaseRetriever | VectorStore
Bases: TypeAlias = Searchable | Mapping[str, Searchable]


@dataclass(frozen=True)
class Answering:
    """How an answer is made of passages; see `rag_chain`."""

    model: BaseChatModel
    file: PromptFile
    layout: Layout
    support: Support | None
    words: bool
    sentences: int
    answerable: float | None
    max_tokens: int
    keep: str

    @property
    def has_engine(self) -> bool:
        """Whether the model has grammars and scores."""
        return isinstance(unbound(self.model)[0], ChatGGUF)


def rag_chain(
    model: BaseChatModel,
    retriever: Bases,
    *,
    passages: int = 5,
    answer: Literal["sentences", "words"] = "sentences",
    sentences: int = 2,
    check: bool = True,
    judge: BaseChatModel | None = None,
    answerable: float | None = None,
    rewrite: bool = False,
    queries: int = 1,
    hops: int = 1,
    route: Mapping[str, str] | None = None,
    max_tokens: int = 128,
    keep: str = "",
    prompts: Override = None,
) -> "RagChain":
    """A chain from {"question": …, "history": …} to an `Answer` from documents.

    With `ChatGGUF` a citation `[n]` can only name a passage that was found. Other models are asked for citations; those
    of passages that there are not are cut out and listed in `Answer.dropped`. Where no passage is found, or no sentence
    is supported by those it cites, the answer is "I don't know." and `known` is False.

    Give the `Answer`, or its `turn`, as the history of the next question: passages then keep their numbers and places,
    and only what is new is read. Plain messages serve as well; their passages are read again.

    Args:
        model: any chat model. `bind` may set its sampling.
        retriever: a `KnowledgeBase`, any of LangChain's retrievers and vector stores, or several by name.
        passages: most that a question puts into the prompt; fewer where they do not fit.
        answer: "sentences"; or "words": the phrase of the passages that scores best, verbatim, with its passage;
            needs `ChatGGUF`.
        sentences: most of them, with `ChatGGUF`.
        check: whether each sentence is checked against the passages it cites. Words of a passage need no check.
        judge: a model whose yes or no is half of the check, a larger one than the starter. None = words alone.
        answerable: ask the model first whether the passages answer the question; below this probability (0 to 1) it is
            "I don't know.". None = do not ask. For larger models than the starter.
        rewrite: let the model write a question that follows a conversation so that it can be searched for alone; for
            larger models than the starter. What shares no word with question and conversation is not searched for.
        queries: search for so many; the model writes the further ones, and the results are fused.
        hops: most searches one after another; the model says what to look for next, or that it is enough.
        route: what each base is for, by name; the model chooses one. "none" says when no search is needed.
        max_tokens: of the answer.
        keep: a name under which the prompt's KV state is kept on disk, with `ChatGGUF`: see `pinned`.
        prompts: others than those in prompts/rag.yaml.

    Raises:
        RequestError: a number is below 1, a retriever is none, a base has no description or a description no base.
        NotSupportedError: "words" without `ChatGGUF`.
    """
    check_counts(passages=passages, sentences=sentences, queries=queries, hops=hops, max_tokens=max_tokens)
    plain, _ = unbound(model)
    words = answer == "words"
    if answer not in ("sentences", "words"):
        raise RequestError(f"answer is {answer!r:.80}.", hint='Pass "sentences" or "words".')
    if words and not isinstance(plain, ChatGGUF):
        raise NotSupportedError(
            f"{type(plain).__name__} has no scores, by which words are chosen.", hint='Use answer="sentences".'
        )
    file = load_prompts("rag", prompts)
    bases = _bases(retriever, route)
    passages = max(passages, *(len(each.documents) for each in bases.values() if isinstance(each, Pinned)), 1)
    router = classify(dict(route), model=model) if route else None
    system = "system_words" if words else "system" if isinstance(plain, ChatGGUF) else "system_cite"
    support = Support(Judge(judge, file, "check") if judge else None) if check and not words else None
    return RagChain(
        Searching(model, file, bases, router, passages, rewrite, queries, hops),
        Answering(model, file, Layout(file, system, words), support, words, sentences, answerable, max_tokens, keep),
    )


def _bases(retriever: Bases, route: Mapping[str, str] | None) -> dict[str, BaseRetriever]:
    if not isinstance(route, Mapping | None):
        raise RequestError(f"route is {route!r:.80}.", hint='Pass {"name of a base": "what it is for"}.')
    names = [name for name in map(_stripped, route or {}) if name != NO_SEARCH]
    given = retriever if isinstance(retriever, Mapping) else {(names or ["documents"])[0]: retriever}
    bases = {_stripped(name): retriever_of(each) for name, each in given.items()}
    if not bases:
        raise RequestError("There is no retriever.", hint="Pass one, or several by name.")
    if (route or len(bases) > 1) and set(names) != set(bases):
        raise RequestError(
            f"The bases are {', '.join(bases)}, but route describes {', '.join(names) or 'none'}.",
            hint='Describe each base by its name, and perhaps "none".',
        )
    return bases


def _stripped(name: Any) -> str:
    """A base's name, as a label of `classify` is."""
    return str(name).strip()


class RagChain(Chain[Answer]):
    """See `rag_chain`."""

    variables = ("question",)
    optional = ("history",)

    def __init__(self, searching: Searching, answering: Answering) -> None:
        super().__init__({**searching.bases, "prompt": answering.file.prompts["ask"], "model": answering.model})
        self.name, self._searching, self._how = "rag_chain", searching, answering

    def given(self, value: Any) -> dict[str, Any]:
        """The question as a text, the history as messages; of an `Answer` that is its turn."""
        given = super().given(value)
        history: Any = given.get("history") or []
        if isinstance(history, Answer):
            history = history.turn or [history]  # one that still grows is no history
        try:
            return {"question": clean_text(given["question"]), "history": convert_to_messages(history)}
        except (ValueError, TypeError, NotImplementedError) as error:
            raise RequestError(
                f"The history cannot be read: {error}.", hint="Pass an Answer, or a list of messages."
            ) from error

    def pin(self) -> int:
        """See `apin`."""
        return next(iterate(self._pinned()))

    async def apin(self) -> int:
        """Read what the chain's pinned documents put into every prompt, and keep it on disk under `keep`.

        Returns:
            How many tokens of it were read now; those that were kept already are not.

        Raises:
            RequestError: there are no pinned documents, or several bases.
            ContextOverflowError: they do not all fit beside question and answer.
        """
        async with aclosing(self._pinned()) as counts:
            return await anext(counts)

    async def _pinned(self) -> AsyncGenerator[int, None]:
        how, (base, *others) = self._how, self._searching.bases.values()
        if not isinstance(base, Pinned) or others:
            raise RequestError("The chain has no pinned documents.", hint="Make it with retriever=pinned(documents).")
        window = await asyncio.to_thread(Window, how.model, how.max_tokens)
        placed = await asyncio.to_thread(how.layout.place, "?", [], base.documents, window)
        if placed.left_out:
            raise ContextOverflowError(
                f"{placed.left_out} of {len(base.documents)} pinned documents do not fit into {window.size} tokens.",
                hint="Pin fewer, search in them instead, or load the model with a larger n_ctx.",
            )
        arguments: dict[str, Any] = {"keep": how.keep} if how.keep and how.has_engine else {}
        async with gate():
            answer = await how.model.ainvoke(
                placed.messages, **known_settings(how.model, {"max_tokens": 1}), **arguments
            )
        yield Cost.of([answer]).evaluated_tokens

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[Answer, None]:
        """The answer as it grows; then with its verdicts."""
        question, history = given["question"], given["history"]
        found = await self._searching.find(question, history)
        begun = Answer(queries=found.queries, base=found.base, cost=found.cost)
        if found.base == NO_SEARCH:
            async with aclosing(self._unsearched(question, history, begun)) as answers:
                async for answer in answers:
                    yield answer
            return
        if not found.passages:
            yield _unknown(begun, question, ())
            return
        how = self._how
        window = await asyncio.to_thread(Window, how.model, how.max_tokens)  # loads the model
        placed = await asyncio.to_thread(how.layout.place, question, history, found.passages, window)
        begun = replace(
            begun,
            passages=placed.passages,
            left_out=placed.left_out,
            question=asked(question, placed.new, "", placed.kept)[0],
        )
        async with aclosing(self._from_passages(question, placed, begun)) as answers:
            async for answer in answers:
                yield answer

    async def _from_passages(self, question: str, placed: Placed, answer: Answer) -> AsyncGenerator[Answer, None]:
        texts = [shown(each) for each in placed.passages]
        doubt, cost = await self._doubt(question, [texts[number - 1] for number in placed.citable])
        answer = replace(answer, cost=answer.cost + cost)
        if doubt:
            yield _unknown(answer, question, ())
            return
        growing = self._words(question, placed, answer) if self._how.words else self._sentences(placed, answer)
        async with aclosing(growing) as answers:
            async for answer in answers:
                yield answer
        yield await self._checked(question, placed, texts, answer)

    async def _doubt(self, question: str, texts: Sequence[str]) -> tuple[bool, Cost]:
        """Whether the model says that no passage answers the question."""
        if self._how.answerable is None:
            return False, Cost()
        judge = Judge(self._how.model, self._how.file, "answerable")
        said = [await judge(f"Passage: {text}\n\nQuestion: {question}") for text in texts]
        cost = sum((each for _, each in said), Cost())
        return max(probability for probability, _ in said) < self._how.answerable, cost

    async def _sentences(self, placed: Placed, answer: Answer) -> AsyncGenerator[Answer, None]:
        """What the model writes, as it comes."""
        how, whole, before = self._how, AIMessageChunk(content=""), answer.cost
        arguments = known_settings(how.model, {"max_tokens": how.max_tokens})
        if how.has_engine:
            arguments["grammar"] = cited_sentences(placed.citable, how.sentences)
            arguments |= {"keep": how.keep} if how.keep else {}
        async with aclosing(streamed(how.model.astream(placed.messages, **arguments))) as chunks:
            async for chunk in chunks:
                whole = whole + chunk
                text, dropped = without_unknown(whole.text, placed.citable)
                if (text, dropped) != (answer.text, answer.dropped):
                    answer = replace(answer, text=text, sentences=claims(text), dropped=dropped)
                    yield answer
        yield replace(answer, cost=before + Cost.of([whole]))

    async def _words(self, question: str, placed: Placed, answer: Answer) -> AsyncGenerator[Answer, None]:
        """The phrase of a passage that scores best; its scores without a question share nearly all of the prompt."""
        how = self._how
        model = cast("ChatGGUF", unbound(how.model)[0])
        texts = {number: placed.passages[number - 1].page_content for number in placed.citable}
        options = phrases(question, texts)
        if not options:
            yield answer
            return
        unasked = how.file.messages("nothing")[-1].text
        without = how.layout.question(unasked, placed.new, len(placed.passages) - len(placed.new) + 1)
        said, cost = [], answer.cost
        for messages in (placed.messages, [*placed.messages[:-1], without]):
            async with gate():
                scores = await model.ascore(messages, [option.text for option in options], whole=True)
            said.append(np.array([score.logprob for score in scores]))
            prompt = await asyncio.to_thread(model.get_num_tokens_from_messages, messages)
            cost += Cost(1, prompt + sum(score.tokens for score in scores))
        chosen = best(options, *said)
        text = f"{chosen.text} [{chosen.passage}]"
        claim = Claim(chosen.text, (chosen.passage,), "supported", 1.0)
        yield replace(answer, text=text, sentences=(claim,), short=chosen.text, cost=cost)

    async def _checked(self, question: str, placed: Placed, texts: list[str], answer: Answer) -> Answer:
        """The whole answer: its verdicts, its shortest form, and whether anything supports it."""
        said = answer.sentences
        if self._how.support:
            checked, cost = await self._how.support.check(said, texts, question)
            said = tuple(checked)
            answer = replace(answer, sentences=said, cost=answer.cost + cost)
        held = [claim for claim in said if claim.verdict != "none" and any(map(str.isalnum, claim.text))]
        if not held or answer.text.strip() == UNKNOWN:
            return _unknown(answer, question, placed.new, placed.kept)
        answer = replace(answer, text=without_none(answer.text, said))
        cited = [texts[number - 1] for claim in held for number in claim.cited]
        short = answer.short or short_answer(held[0].text, question, cited or texts)
        return replace(answer, short=short, turn=asked(question, placed.new, answer.text, placed.kept))

    async def _unsearched(
        self, question: str, history: list[BaseMessage], answer: Answer
    ) -> AsyncGenerator[Answer, None]:
        """What the model says where no search is needed: nothing in it can be cited."""
        how, before, whole = self._how, answer.cost, AIMessageChunk(content="")
        window = await asyncio.to_thread(Window, how.model, how.max_tokens)
        messages = await asyncio.to_thread(how.layout.unsearched, question, history, window)
        settings = known_settings(how.model, {"max_tokens": how.max_tokens})
        async with aclosing(streamed(how.model.astream(messages, **settings))) as chunks:
            async for chunk in chunks:
                whole = whole + chunk
                answer = replace(answer, text=without_unknown(whole.text, ())[0])
                yield answer
        yield replace(answer, cost=before + Cost.of([whole]), turn=asked(question, (), answer.text))


def _unknown(answer: Answer, question: str, placed: Sequence[Any], kept: int | None = None) -> Answer:
    """That it is not known; what was said all the same stays to be seen in `sentences`."""
    return replace(answer, text=UNKNOWN, short="", known=False, turn=asked(question, placed, UNKNOWN, kept))
