"""`rag_chain` as a whole: grounded, streamed, checked, declining, continued, pinned; also on the starter."""

import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from answers import answers
from grounding import PASSAGES, TEXTS, finding, grounded
from hashed import HashedEmbeddings
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage

from phireside.chains import Answer, pinned, rag_chain
from phireside.chains.rag.answer import CITATION, UNKNOWN
from phireside.errors import ContextOverflowError, KnowledgeError, NotSupportedError, RequestError
from phireside.models import ChatGGUF, Grammar
from phireside.models.runtime import close_all
from phireside.retrieval import KnowledgeBase
from phireside.settings import EngineSettings, Settings

HOW = "How long is the notice?"


def test_with_the_engine_the_answer_is_decoded_under_a_grammar_of_the_passages_found() -> None:
    model = grounded(f"{TEXTS[0]} [1]")
    found = rag_chain(model, finding(*PASSAGES), check=False).invoke(HOW)
    (messages, arguments), *_ = model.arguments
    assert isinstance(arguments["grammar"], Grammar)
    assert '\\"[3]\\"' in arguments["grammar"].source
    assert "[3] Dogs" in messages[-1].text
    assert (found.text.strip(), found.sentences[0].cited, found.passages) == (f"{TEXTS[0]} [1]", (1,), PASSAGES)
    assert (found.known, found.queries, found.short) == (True, (HOW,), "lease")


def test_a_model_without_grammars_is_asked_for_citations_and_invented_ones_are_cut_out_and_said() -> None:
    model = answers(f"{TEXTS[0]} [1] [9]")
    pieces = list(rag_chain(model, finding(*PASSAGES), check=False).stream(HOW))
    assert all(set(map(int, CITATION.findall(piece.text))) <= {1, 2, 3} for piece in pieces)
    assert (pieces[-1].text, pieces[-1].dropped) == (f"{TEXTS[0]} [1]", (9,))
    assert "like [1]" in model.asked[0][0][1]
    assert len({piece.text for piece in pieces}) > 5  # it grew


def test_sentences_are_checked_and_what_is_weak_is_shown() -> None:
    model = answers(lambda messages: "yes" if "Statement:" in str(messages) else f"{TEXTS[0]} [1] Cats may vote. [3]")
    assert rag_chain(model, finding(*PASSAGES)).invoke(HOW).cost.calls == 1
    found = rag_chain(model, finding(*PASSAGES), judge=model).invoke(HOW)
    assert [claim.verdict for claim in found.sentences] == ["supported", "weak"]
    assert found.known
    assert "Cats may vote" in found.text
    assert found.cost.calls == 3


def test_a_sentence_that_nothing_supports_is_not_in_the_text_and_stays_in_the_sentences() -> None:
    said = f"Cats may vote. [3] {TEXTS[0]} [1]"
    found = rag_chain(answers(said), finding(*PASSAGES)).invoke(HOW)
    assert (found.text, found.known, found.short) == (f"{TEXTS[0]} [1]", True, "lease")
    assert [claim.verdict for claim in found.sentences] == ["none", "supported"]
    assert found.turn
    assert found.turn[1].text == found.text
    assert rag_chain(answers(said), finding(*PASSAGES), check=False).invoke(HOW).text == said


@pytest.mark.parametrize("check", [True, False])
def test_the_number_of_a_list_is_no_answer(check: bool) -> None:
    found = rag_chain(answers("1. [1] [2] [3]"), finding(*PASSAGES), check=check).invoke("List the rules.")
    assert (found.text, found.known) == (UNKNOWN, False)


def test_nothing_found_or_nothing_supported_is_not_known_and_the_draft_stays_to_be_seen() -> None:
    model = answers(lambda messages: "no" if "Statement:" in str(messages) else "Cats may vote. [1]")
    found = rag_chain(model, finding()).invoke(HOW)
    assert (found.text, found.known, found.cost.calls) == (UNKNOWN, False, 0)
    found = rag_chain(model, finding(*PASSAGES)).invoke(HOW)
    assert (found.text, found.known, found.short) == (UNKNOWN, False, "")
    assert [(claim.text, claim.verdict) for claim in found.sentences] == [("Cats may vote.", "none")]


def test_a_model_that_declines_is_taken_at_its_word() -> None:
    assert not rag_chain(answers(UNKNOWN), finding(*PASSAGES), check=False).invoke(HOW).known


@pytest.mark.parametrize(("said", "known"), [("no", False), ("yes", True)])
def test_the_model_may_be_asked_first_whether_the_passages_answer(said: str, known: bool) -> None:
    model = answers(lambda messages: said if "answer the question? Answer yes" in str(messages) else "Three. [1]")
    found = rag_chain(model, finding(PASSAGES[0]), answerable=0.5, check=False).invoke(HOW)
    assert (found.known, found.cost.calls) == (known, 2 if known else 1)


def test_words_are_a_phrase_of_a_passage_with_its_number() -> None:
    def rule(prompt: str, text: str) -> float:
        return math.log(0.9 if text == "30 days" and "paid back" in prompt.partition("Question")[2] else 0.001)

    model = grounded("", rule)
    found = rag_chain(model, finding(*PASSAGES), answer="words").invoke("Within how many days is it paid back?")
    assert (found.text, found.short, found.sentences[0].verdict) == ("30 days [2]", "30 days", "supported")
    assert found.cost.calls == 2
    assert rag_chain(model, finding(Document("It is.")), answer="words").invoke("Is it?").known is False


def test_a_turn_continues_the_prompt_and_keeps_the_numbers() -> None:
    model = grounded(lambda messages: "It is two rents. [2]" if "deposit" in messages[-1].text else "Three. [1]")
    retriever = finding(rule=lambda query: PASSAGES[1:] if "deposit" in query else PASSAGES[:1])
    chain = rag_chain(model, retriever, check=False)
    first = chain.invoke(HOW)
    assert first.turn
    second = chain.invoke({"question": "What is the deposit?", "history": list(first.turn)})
    before, after = (messages for messages, _ in model.arguments)
    assert [message.text for message in after[: len(before)]] == [message.text for message in before]
    assert after[-1].text.startswith("[2] The deposit")
    assert second.passages == PASSAGES
    assert '\\"[1]\\"' not in model.arguments[-1][1]["grammar"].source  # found for the first question only
    assert chain.invoke({"question": "What is the deposit?", "history": first}).turn == second.turn


def test_a_base_is_searched_without_a_retriever_around_it() -> None:
    base = KnowledgeBase.from_texts(list(TEXTS), HashedEmbeddings(64))
    found = rag_chain(answers("Three. [1]"), base, check=False).invoke("Are dogs allowed in the garden?")
    base.close()
    assert found.passages[0].page_content == TEXTS[2]
    with pytest.raises(RequestError, match=r"'lease\.txt' cannot be searched"):
        rag_chain(answers("x"), "lease.txt")  # type: ignore[arg-type]


async def test_it_is_a_runnable_with_schemas_and_a_graph() -> None:
    chain = rag_chain(answers("Three. [1]"), finding(*PASSAGES), check=False)
    assert [found.text for found in await chain.abatch([HOW, {"question": HOW}])] == ["Three. [1]"] * 2
    assert set(chain.get_input_schema().model_fields) == {"question", "history"}
    assert chain.OutputType is Answer
    assert {"documents", "prompt", "model"} <= {node.name for node in chain.get_graph().nodes.values()}
    assert (await (chain | (lambda found: found.text)).ainvoke(HOW)) == "Three. [1]"


def test_braces_and_markers_in_passages_and_questions_are_text() -> None:
    model = answers("So. [1]")
    rag_chain(model, finding(Document("{question} {{x}} <|im_end|>")), check=False).invoke("What is {passages}?")
    assert "[1] {question} {{x}} <|im_end|>\n\nQuestion: What is {passages}?" in model.asked[0][1][1]


@pytest.mark.parametrize(
    "options", [{"passages": 0}, {"hops": 0}, {"queries": True}, {"answer": "poem"}, {"route": {"other": ""}}]
)
def test_options_that_cannot_be_used_are_refused(options: Any) -> None:
    with pytest.raises(RequestError):
        rag_chain(answers("x"), {"lease": finding()}, **options)


def test_what_needs_the_engine_says_so_and_bad_input_is_refused() -> None:
    with pytest.raises(NotSupportedError, match="has no scores"):
        rag_chain(answers("x"), finding(), answer="words")
    chain = rag_chain(answers("x"), finding())
    for value in (
        "",
        {"question": HOW, "history": [3]},
        {"question": HOW, "history": Answer("half")},
        {"other": 1},
        ["x"],
    ):
        with pytest.raises(RequestError):
            chain.invoke(value)
    with pytest.raises(RequestError, match="no pinned documents"):
        chain.pin()
    with pytest.raises(RequestError, match="each with text"):
        pinned([Document(" ")])


def test_what_a_retriever_raises_is_an_error_with_a_hint() -> None:
    def fails(query: str) -> list[Document]:
        raise RuntimeError("no route to the store")

    with pytest.raises(KnowledgeError, match=r"cannot be searched: RuntimeError: no route to the store"):
        rag_chain(answers("x"), finding(rule=fails)).invoke(HOW)


def test_a_title_supports_what_is_said_of_it() -> None:
    passage = Document("It is three months.", metadata={"title": "Lease of Elm Street", "heading": "Notice"})
    model = answers("The notice for Elm Street is three months. [1]")
    found = rag_chain(model, finding(passage)).invoke(HOW)
    assert "[1] Lease of Elm Street: Notice\nIt is" in model.asked[0][-1][1]
    assert found.sentences[0].verdict == "supported"


def test_a_question_with_half_a_character_is_answered() -> None:
    assert rag_chain(answers("So. [1]"), finding(*PASSAGES), check=False).invoke("What is \ud800?").known


def test_a_conversation_that_began_anew_says_so_in_its_turn() -> None:
    model = grounded("So it is. [1]", size=220)
    chain = rag_chain(model, finding(*PASSAGES), check=False, max_tokens=10)
    history = [HumanMessage("word " * 200), AIMessage("Yes.")]
    first = chain.invoke({"question": HOW, "history": history})
    assert first.turn
    chain.invoke({"question": "And then?", "history": [*history, *first.turn]})
    before, after = (messages for messages, _ in model.arguments)
    assert [message.text for message in after[: len(before)]] == [message.text for message in before]


def test_leaving_the_stream_ends_the_models_answer() -> None:
    model = answers("word " * 200, pause=0.002)
    stream = rag_chain(model, finding(*PASSAGES)).stream(HOW)
    next(stream)
    stream.close()
    for _ in range(12_000):
        if model.left:
            return
        time.sleep(0.005)
    pytest.fail("the model still writes")


# ---- the starter ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def starter(starter_path: Path, tmp_path_factory: pytest.TempPathFactory) -> ChatGGUF:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), engine=EngineSettings(n_ctx=1024))
    return ChatGGUF(model="starter", settings=settings, temperature=0)


@pytest.mark.real
def test_a_follow_up_reads_nothing_again_and_cites_only_what_was_found(starter: ChatGGUF) -> None:
    chain = rag_chain(starter, finding(*PASSAGES), check=False, sentences=1, max_tokens=48)
    first = chain.invoke(HOW)
    assert first.turn
    second = chain.invoke({"question": "And the deposit?", "history": list(first.turn)})
    new = second.cost.prompt_tokens - first.cost.prompt_tokens - first.cost.generated_tokens
    assert second.cost.evaluated_tokens <= new + 8
    for found in (first, second):
        assert CITATION.findall(found.text)
        assert {number for claim in found.sentences for number in claim.cited} <= {1, 2, 3}


@pytest.mark.real
def test_the_starters_answers_are_sentences_and_no_beginnings_of_lists(starter: ChatGGUF) -> None:
    texts = (
        "The allotment on Elm Street has 24 plots. The yearly fee is 62 euros and is due on March 1.\n\n"
        "The water is turned off from November to March.",
        "We keep four hives behind the shed. If you are stung, ring Marta at extension 555.",
    )
    chain = rag_chain(starter, finding(*map(Document, texts)), sentences=1, max_tokens=48)
    for question in ("How many plots are there?", "When is the water turned on?", "List the rules."):
        found = chain.invoke(question)
        assert all(re.match(r"[^\W\d]\w*[ ']\w", claim.text) for claim in found.sentences), found
        assert found.known == any(claim.verdict in ("supported", "weak") for claim in found.sentences)


@pytest.mark.real
def test_the_starter_finds_the_words_and_checks_a_sentence(starter: ChatGGUF) -> None:
    found = rag_chain(starter, finding(*PASSAGES), answer="words").invoke(
        "Within how many days is the deposit paid back?"
    )
    assert found.short in TEXTS[1]
    assert "30 days" in found.short
    checked = rag_chain(starter, finding(PASSAGES[1]), sentences=1, max_tokens=48).invoke("What is the deposit?")
    assert all(claim.verdict != "unchecked" and claim.score is not None for claim in checked.sentences)


@pytest.mark.real
def test_pinned_documents_are_read_once_and_come_back_from_disk(starter: ChatGGUF) -> None:
    chain = rag_chain(starter, pinned(PASSAGES * 3), check=False, sentences=1, max_tokens=32, keep="lease", passages=1)
    read = chain.pin()
    assert read > 100
    close_all()  # the program ends; its state is on disk
    found = chain.invoke(HOW)
    assert found.cost.evaluated_tokens < read / 4
    assert len(found.passages) == 3
    with pytest.raises(ContextOverflowError, match=r"\d of 40 pinned documents do not fit into 1024 tokens"):
        rag_chain(starter, pinned([Document(f"Number {n} is here. " * 10) for n in range(40)])).pin()
