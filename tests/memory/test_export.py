"""The sources of an answer in the Markdown export; the rest of it is in test_store.py, on every database."""

from datetime import UTC, datetime

import pytest
from langchain_core.messages import AIMessage

from phireside.memory.export import to_markdown

ROWS = [
    {"number": 1, "title": "kiln *new*.txt", "place": "page 3"},
    {"number": 2, "title": "", "source": "trees.md"},
    {"number": 3, "title": "not cited"},
]


def exported(ours: object, text: str = "Oak. [2][1] [9]") -> str:
    answer = AIMessage(text, additional_kwargs={"phireside": ours})
    return to_markdown("", datetime(2026, 1, 1, tzinfo=UTC), {}, [answer]).partition("## Assistant\n\n")[2]


def test_an_answer_names_the_passages_that_it_cites() -> None:
    sources = "Sources:\n\n- [1] kiln \\*new\\*.txt, page 3\n- [2] trees.md\n"
    assert exported({"passages": ROWS}) == f"Oak. [2][1] [9]\n\n{sources}"


@pytest.mark.parametrize("ours", [None, "x", {"passages": "x"}, {"passages": [1, {}, {"number": 8}]}])
def test_what_cannot_be_used_is_left_out(ours: object) -> None:
    assert exported(ours) == "Oak. [2][1] [9]\n"


def test_a_passage_without_a_number_is_no_source() -> None:
    assert exported({"passages": [{"title": "x"}]}, "Oak. [None] []") == "Oak. [None] []\n"
