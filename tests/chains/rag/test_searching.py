"""Searching: rewriting, several queries that are fused, several hops, and the base that fits."""

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from answers import answers
from grounding import PASSAGES, finding
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.vectorstores import VectorStore

from phireside.chains import rag_chain
from phireside.chains.rag.searching import fuse
from phireside.errors import RequestError

ONE, TWO, THREE = PASSAGES


def by_words(query: str) -> Sequence[Document]:
    return [passage for word, passage in (("notice", ONE), ("deposit", TWO), ("dog", THREE)) if word in query]


def model(**said: Any) -> Any:
    """Answers each of the chain's prompts by a word in it: rewrite, ways, ENOUGH, label; else with an answer."""

    def rule(messages: list[BaseMessage]) -> str:
        text = "\n".join(message.text for message in messages)
        for name, mark in (
            ("rewrite", "Write the last"),
            ("queries", "other ways"),
            ("hop", "ENOUGH"),
            ("base", "labels"),
        ):
            if mark in text:
                answer = said[name]
                return str(answer.pop(0) if isinstance(answer, list) else answer)
        return "Three months. [1]"

    return answers(rule)


async def test_a_follow_up_is_searched_for_as_it_was_written_again() -> None:
    retriever = finding(rule=by_words)
    chain = rag_chain(model(rewrite="When is the deposit paid back?"), retriever, rewrite=True, check=False)
    history = [HumanMessage("What is the deposit?"), AIMessage("Two rents.")]
    found = await chain.ainvoke({"question": "When is it paid back?", "history": history})
    assert found.queries == ("When is the deposit paid back?",)
    assert retriever.asked == ["When is the deposit paid back?"]
    await chain.ainvoke("Is there a notice?")  # nothing to write again
    assert retriever.asked[-1] == "Is there a notice?"


async def test_a_rewrite_about_something_else_is_not_searched_for() -> None:
    retriever = finding(rule=by_words)
    chain = rag_chain(model(rewrite="You're right, shall I write more?"), retriever, rewrite=True, check=False)
    history = [HumanMessage("What is the deposit?"), AIMessage("Two rents.")]
    found = await chain.ainvoke({"question": "When is it paid back?", "history": history})
    assert found.queries == ("When is it paid back?",)


async def test_several_queries_are_fused_and_what_both_find_comes_first() -> None:
    retriever = finding(rule=by_words)
    chain = rag_chain(model(queries=json.dumps(["deposit", "dog notice"])), retriever, queries=3, check=False)
    found = await chain.ainvoke("What is the notice?")
    assert found.queries == ("What is the notice?", "deposit", "dog notice")
    assert found.passages == (ONE, TWO, THREE)
    assert sorted(retriever.asked) == sorted(found.queries)


@pytest.mark.parametrize(
    ("hops", "said", "queries"),
    [
        (3, ["SEARCH: deposit", "ENOUGH"], ("notice?", "deposit")),
        (2, ["SEARCH: deposit", "SEARCH: dog"], ("notice?", "deposit")),
        (5, ["SEARCH: notice?"], ("notice?",)),
    ],
)
async def test_hops_end_when_it_is_enough_or_said_twice_or_at_the_limit(
    hops: int, said: list[str], queries: tuple[str, ...]
) -> None:
    found = await rag_chain(model(hop=said), finding(rule=by_words), hops=hops, check=False).ainvoke("notice?")
    assert found.queries == queries
    assert len(found.passages) == len(queries)


async def test_the_base_that_the_model_names_is_searched_and_none_answers_without() -> None:
    lease, pets = finding(ONE), finding(THREE)
    route = {"lease": "renting", "pets": "animals", "none": "small talk"}
    said = model(base=["pets", "none"])
    chain = rag_chain(said, {"lease": lease, "pets": pets}, route=route, check=False)
    found = await chain.ainvoke("Dogs?")
    assert (found.base, found.passages, lease.asked) == ("pets", (THREE,), [])
    found = await chain.ainvoke("Hello!")
    assert (found.base, found.text, found.passages, found.known) == ("none", "Three months.", (), True)
    assert said.asked[-1] == [("human", "Hello!")]


@pytest.mark.parametrize("route", [None, {"lease": "a"}, {"lease": "a", "cats": "b"}])
def test_each_of_several_bases_needs_a_description(route: Any) -> None:
    with pytest.raises(RequestError, match="The bases are lease, pets"):
        rag_chain(answers("x"), {"lease": finding(ONE), "pets": finding(THREE)}, route=route)


def test_a_route_that_is_none_is_refused() -> None:
    with pytest.raises(RequestError, match="route is"):
        rag_chain(answers("x"), finding(ONE), route=["lease", "none"])  # type: ignore[arg-type]


async def test_a_base_is_found_by_its_name_without_the_blanks_around_it() -> None:
    route = {"lease ": "renting", " pets": "animals"}
    chain = rag_chain(model(base="pets"), {"lease ": finding(ONE), " pets": finding(THREE)}, route=route, check=False)
    assert (await chain.ainvoke("Dogs?")).passages == (THREE,)


class NotAsync(VectorStore):
    """As langchain-postgres has it: a store with a synchronous connection breaks off when it is awaited."""

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        assert threading.current_thread() is not threading.main_thread()
        return [ONE]

    async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        raise AssertionError("_async_engine not found")

    @classmethod
    def from_texts(cls, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


async def test_a_store_that_cannot_be_awaited_is_asked_in_a_thread() -> None:
    chain = rag_chain(model(), NotAsync().as_retriever(), check=False)
    assert (await chain.ainvoke("How long is the notice?")).passages == (ONE,)


def test_ranks_are_fused_by_reciprocal_rank_and_empty_passages_dropped() -> None:
    assert fuse([[ONE, TWO], [TWO, THREE], [Document(" ")]]) == [TWO, ONE, THREE]
