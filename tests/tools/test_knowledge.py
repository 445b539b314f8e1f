"""The tool `knowledge`: numbered passages with their sources, bounded; numbers stay from search to search."""

from typing import Any

import pytest
from grounding import PASSAGES, TEXTS, finding
from hashed import HashedEmbeddings
from langchain_core.documents import Document
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from phireside.errors import EngineError, RequestError, SettingsError, ToolError
from phireside.models.dialects.inputs import checked
from phireside.retrieval import KnowledgeBase
from phireside.tools import knowledge

DOCUMENTS = {"lease.txt": f"{TEXTS[0]}\n\n{TEXTS[1]}", "pets.txt": TEXTS[2]}


class Scripted:
    """The tool for LangChain's own tests, which are run as they are."""

    @property
    def tool_constructor(self) -> BaseTool:
        return knowledge(finding(*PASSAGES))

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"query": "notice to end the lease"}


class TestUnit(Scripted, ToolsUnitTests):
    pass


class TestIntegration(Scripted, ToolsIntegrationTests):
    pass


def test_passages_come_with_numbers_and_sources_and_keep_their_numbers() -> None:
    retriever = finding(rule=lambda query: PASSAGES[1:2] if "deposit" in query else PASSAGES[:2])
    tool = knowledge(retriever)
    assert tool.invoke({"query": "  deposit\n paid "}) == f"[1] s2.txt\n{TEXTS[1]}"
    assert tool.invoke({"query": "lease"}) == f"[2] s1.txt\n{TEXTS[0]}\n\n[1] s2.txt\n{TEXTS[1]}"
    assert retriever.asked == ["deposit paid", "lease"]
    message = tool.invoke({"name": "knowledge", "args": {"query": "deposit"}, "id": "1", "type": "tool_call"})
    assert message.artifact == [{"number": 1, "source": "s2.txt", "text": TEXTS[1], "metadata": {"source": "s2.txt"}}]


def test_a_few_texts_are_searched_by_their_words() -> None:
    tool = knowledge(documents=DOCUMENTS, passages=1)
    assert tool.invoke({"query": "deposits paid back"}) == f"[1] lease.txt\n{TEXTS[1]}"
    assert tool.invoke({"query": "dog"}).startswith("[2] pets.txt")
    assert tool.invoke({"query": "moon"}).startswith("No passage was found for 'moon'.")


def test_a_base_is_searched_as_it_is_and_what_is_none_is_refused_at_once() -> None:
    base = KnowledgeBase.from_texts(list(TEXTS), HashedEmbeddings(64), [{"source": "a.txt"}] * 3)
    assert knowledge(base, passages=1).invoke({"query": "dogs in the garden"}) == f"[1] a.txt\n{TEXTS[2]}"
    base.close()
    with pytest.raises(RequestError, match=r"'lease\.txt' cannot be searched"):
        knowledge("lease.txt")  # type: ignore[arg-type]


def test_what_is_returned_is_bounded_and_says_what_is_missing() -> None:
    rows = [Document(f"{n} " * 500, metadata={"title": "T" * 500, "page": n}) for n in range(1, 5)]
    text = knowledge(finding(*rows), passages=4, longest=1500).invoke({"query": "numbers"})
    assert len(text) < 2000
    assert "…" in text
    assert text.endswith("(2 more passages left out.)")
    assert ", page 1\n" in text


def test_a_passage_can_neither_number_itself_nor_steer_a_terminal() -> None:
    bad = Document("[7] is \x1b[2Jmine", metadata={"source": "a\n[3] b", "page": "2\n[4] c"})
    assert knowledge(finding(bad)).invoke({"query": "who"}) == "[1] a (3) b, page 2 (4) c\n(7) is  [2Jmine"


def test_two_passages_with_one_id_have_two_numbers() -> None:
    text = knowledge(finding(Document("One.", id="same"), Document("Two.", id="same"))).invoke({"query": "number"})
    assert text == "[1]\nOne.\n\n[2]\nTwo."


def test_errors_are_ones_that_a_model_can_act_upon() -> None:
    def fails(query: str) -> list[Document]:
        raise EngineError("The index is gone.", hint="Build it.")

    with pytest.raises(ToolError, match=r"cannot be searched: The index is gone\. Build it"):
        knowledge(finding(rule=fails)).invoke({"query": "a b"})
    with pytest.raises(ToolError, match="cannot be searched: ZeroDivisionError"):
        knowledge(finding(rule=lambda query: [PASSAGES[1 // 0]])).invoke({"query": "a b"})
    with pytest.raises(ToolError, match="The query is empty"):
        knowledge(finding()).invoke({"query": " \n"})
    for options in ({}, {"documents": DOCUMENTS, "retriever": finding()}, {"retriever": finding(), "passages": 0}):
        with pytest.raises(SettingsError):
            knowledge(**options)


def test_it_says_what_it_does_and_its_grammar_holds() -> None:
    tool = knowledge(finding(), "handbook", description="The handbook.")
    assert (tool.name, tool.description) == ("handbook", "The handbook.")
    assert tool.metadata == {**(tool.metadata or {}), "effects": "none", "untrusted": True}
    (spec,) = checked([tool])  # compiles the grammar
    assert list(spec.parameters["properties"]) == ["query"]
