"""Which facts a model is told, and in what words; memories by their names."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phireside.errors import SettingsError
from phireside.memory import MEMORIES, Fact, Memory, memory_named
from phireside.memory.told import fitting, with_facts
from phireside.settings import Settings


def facts(*texts: str) -> list[Fact]:
    return [Fact(str(i), text, None, None, "", datetime.now(UTC), False) for i, text in enumerate(texts)]


def test_facts_stand_at_the_end_of_the_system_text() -> None:
    block = "What you know about the person:\n- I am Zoë.\n- I am 33."
    known = facts("I am Zoë.", "I am 33.")
    assert with_facts("Be kind.", known) == f"Be kind.\n\n{block}"
    assert with_facts("", known) == block
    assert with_facts("Be kind.\n", []) == "Be kind.\n"


@given(
    st.lists(st.text(alphabet="ab ", max_size=9), max_size=12), st.text(alphabet="ab ", max_size=9), st.integers(0, 60)
)
def test_all_facts_or_those_that_share_most_words_and_then_the_newest(
    texts: list[str], question: str, room: int
) -> None:
    known = facts(*texts)  # newest first

    def fits(some: object) -> bool:
        return sum(1 + len(fact.text) for fact in some) <= room  # type: ignore[attr-defined]

    told = fitting(known, question, fits)
    assert fits(told)
    assert told == sorted(told, key=known.index, reverse=True)  # oldest first
    if fits(known):
        assert told == known[::-1]

    def rank(fact: Fact) -> tuple[int, int]:
        return -len(set(fact.text.split()) & set(question.split())), known.index(fact)

    left = [fact for fact in known if fact not in told]
    if told and left:
        assert max(map(rank, told)) < min(map(rank, left))
    if left:
        assert not fits([*told, min(left, key=rank)])


@pytest.mark.parametrize("name", MEMORIES)
def test_each_memory_has_a_name(name: str) -> None:
    memory = memory_named(name)
    assert isinstance(memory, Memory)
    assert memory.name.removesuffix("Memory").lower() == name.replace("_", "")


def test_the_default_is_one_and_another_name_is_an_error_that_lists_them() -> None:
    assert Settings().memory in MEMORIES
    with pytest.raises(SettingsError, match="'elephant'") as caught:
        memory_named("elephant")
    assert "buffer, window, summary, summary_buffer" in caught.value.hint
