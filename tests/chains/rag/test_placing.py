"""Where passages stand in a prompt: prompts grow at their end, numbers stay, everything fits."""

from collections.abc import Sequence

import pytest
from answers import answers
from grounding import PASSAGES, TEXTS
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from phireside.chains.long_text import Window
from phireside.chains.prompt_files import load_prompts
from phireside.chains.rag.answer import asked
from phireside.chains.rag.placing import Layout, numbered, placed_at
from phireside.errors import ContextOverflowError, RequestError

LAYOUT = Layout(load_prompts("rag"), "system")


def words(messages: Sequence[BaseMessage]) -> int:
    """How many all messages have."""
    return sum(len(message.text.split()) for message in messages)


def window(size: int) -> Window:
    """Room for so many words."""
    found = Window(answers("x"), 0)
    found.size, found.answer = size, 0
    found._count = words
    return found


WIDE = window(10_000)


def texts(messages: Sequence[BaseMessage]) -> str:
    return "\n".join(f"{message.type}: {message.text}" for message in messages)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True), min_size=2, max_size=5))
def test_a_prompt_begins_with_the_whole_prompt_before_it(searches: list[list[int]]) -> None:
    history: list[BaseMessage] = []
    before, known = "", list[Document]()
    for turn, numbers in enumerate(searches):
        found = [PASSAGES[number] for number in numbers]
        placed = LAYOUT.place(f"Question {turn}?", history, found, WIDE)
        assert texts(placed.messages).startswith(before)
        assert list(placed.passages[: len(known)]) == known
        assert {placed.passages[number - 1].id for number in placed.citable} == {each.id for each in found}
        assert not {each.id for each in placed.new} & {each.id for each in known}
        before, known = f"{texts(placed.messages)}\nai: Answer {turn}.", list(placed.passages)
        history += asked(f"Question {turn}?", placed.new, f"Answer {turn}.")


def test_what_is_known_is_not_shown_again() -> None:
    history = list(asked("How long?", PASSAGES[:2], "Three months. [1]"))
    placed = LAYOUT.place("And the deposit?", history, [PASSAGES[1], PASSAGES[0]], WIDE)
    assert placed.messages[-1].text == "Question: And the deposit?"
    assert texts(placed.messages).count(TEXTS[1]) == 1
    assert (placed.citable, placed.new) == ((1, 2), ())


def test_what_does_not_fit_begins_anew_with_the_best_passages_and_the_newest_turns() -> None:
    history = [*asked("Old question? " * 20, PASSAGES[2:], "Old answer."), HumanMessage("New?"), AIMessage("Yes.")]
    one, two = (words(LAYOUT.place("How long?", [], PASSAGES[:count], WIDE).messages) for count in (1, 2))
    placed = LAYOUT.place("How long?", history, PASSAGES[:2], window(two + 2))
    assert (placed.passages, placed.left_out) == (PASSAGES[:2], 0)
    assert [message.text for message in placed.messages[1:3]] == ["New?", "Yes."]
    placed = LAYOUT.place("How long?", history, PASSAGES[:2], window(one))
    assert (placed.passages, placed.left_out, len(placed.messages)) == (PASSAGES[:1], 1, 2)


def test_a_passage_that_never_fits_is_an_error_with_the_numbers() -> None:
    with pytest.raises(ContextOverflowError, match="Of 2 passages not even the best, of 49 characters"):
        LAYOUT.place("How long?", [], PASSAGES[:2], window(10))


def test_after_a_conversation_began_anew_prompts_grow_again_without_the_old_numbers() -> None:
    history: list[BaseMessage] = list(asked("Old question? " * 20, PASSAGES[2:], "Old answer. [1]"))
    history += [HumanMessage("New?"), AIMessage("Yes. [1]")]
    size = words(LAYOUT.place("How long?", [], PASSAGES[:2], WIDE).messages) + 20
    anew = LAYOUT.place("How long?", history, PASSAGES[:2], window(size))
    assert [message.text for message in anew.messages[1:3]] == ["New?", "Yes."]
    history += asked("How long?", anew.new, "Three months. [1]", anew.kept)
    grown = LAYOUT.place("And then?", history, PASSAGES[:1], window(size))
    assert texts(grown.messages).startswith(f"{texts(anew.messages)}\nai: Three months. [1]")
    assert (grown.passages, grown.citable, grown.kept) == (PASSAGES[:2], (1,), None)


@pytest.mark.parametrize("size", [10_000, 60])
def test_of_a_history_the_rules_are_kept_and_what_tools_said_is_not(size: int) -> None:
    call = {"name": "clock", "args": {}, "id": "1"}
    history: list[BaseMessage] = [SystemMessage("Be kind."), HumanMessage("Old? " * 60)]
    history += [AIMessage("", tool_calls=[call]), ToolMessage("12:00", tool_call_id="1"), AIMessage("Noon.")]
    placed = LAYOUT.place("How long?", history, PASSAGES[:1], window(size))
    assert placed.messages[0].text.endswith("\n\nBe kind.")
    assert {message.type for message in placed.messages[1:]} <= {"human", "ai"}
    assert "12:00" not in texts(placed.messages)


def test_without_passages_the_newest_turns_that_fit_stand_before_a_question() -> None:
    history = [SystemMessage("Be kind."), *asked("Old question? " * 20, PASSAGES[2:], "Old answer. [1]")]
    history += [HumanMessage("New?"), AIMessage("Yes. [1]")]
    assert LAYOUT.unsearched("Hello!", history, WIDE) == [*history, HumanMessage("Hello!")]
    few = LAYOUT.unsearched("Hello!", history, window(10))
    assert texts(few) == "system: Be kind.\nhuman: New?\nai: Yes.\nhuman: Hello!"
    assert texts(LAYOUT.unsearched("Hello!", history, window(3))) == "system: Be kind.\nhuman: Hello!"


def test_two_passages_with_one_id_are_two() -> None:
    one, two = Document("One.", id="same"), Document("Two.", id="same")
    assert LAYOUT.place("What?", [], [one, two], WIDE).citable == (1, 2)
    assert LAYOUT.place("What?", asked("So?", [one], "One. [1]"), [two], WIDE).new == (two,)


def test_title_and_heading_stand_above_a_passage() -> None:
    passage = Document("It is three months.", metadata={"title": "Lease\n[9] of Elm Street", "heading": "Notice"})
    assert numbered([passage]) == "[1] Lease (9) of Elm Street: Notice\nIt is three months."


def test_a_passage_cannot_number_itself() -> None:
    assert numbered([Document("See [2]. [9] is new.")], 3) == "[3] See (2). (9) is new."


@pytest.mark.parametrize("passages", [[1], [{"id": "a"}], "text", [{"page_content": 3}]])
def test_a_history_with_broken_passages_is_refused(passages: object) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        placed_at(HumanMessage("x", additional_kwargs={"passages": passages}))
