"""How a text with `[n]` is read: sentences, what they cite, and citations of nothing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phireside.chains.rag.answer import CITATION, asked, claims, without_unknown
from phireside.chains.rag.placing import placed_at


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is red. [1]", [("It is red.", (1,))]),
        ("It is red [1]. It is big [2][1]!", [("It is red.", (1,)), ("It is big!", (2, 1))]),
        ("It is red. [1] [3] It is big. [2]", [("It is red.", (1, 3)), ("It is big.", (2,))]),
        ("Dr. Who pays 3.5 euros. [1]", [("Dr. Who pays 3.5 euros.", (1,))]),
        ("two monthly rents [2]", [("two monthly rents", (2,))]),
        ("No citation here. But here. [1]", [("No citation here.", ()), ("But here.", (1,))]),
        ("", []),
        ("1. [1] [2]", [("", (1, 2))]),
        ("1. It is red. [1]\n2. It is big. [2]", [("It is red.", (1,)), ("It is big.", (2,))]),
        (
            "There are two:\n- red ones [1]\n- blue ones [2]",
            [("There are two:", ()), ("red ones", (1,)), ("blue ones", (2,))],
        ),
        ("24. [1]", [("24.", (1,))]),
        ("赤い。[1]大きい。[2][1]", [("赤い。", (1,)), ("大きい。", (2, 1))]),
    ],
)
def test_sentences_and_what_they_cite(text: str, expected: list[tuple[str, tuple[int, ...]]]) -> None:
    assert [(claim.text, claim.cited) for claim in claims(text)] == expected


@given(st.text(st.sampled_from("ab .[]12!?\n\u3002"), max_size=60))
def test_no_citation_and_no_letter_is_lost_between_sentences(text: str) -> None:
    found = claims(text)
    assert {number for claim in found for number in claim.cited} == set(map(int, CITATION.findall(text)))
    assert _letters("".join(claim.text for claim in found)) == _letters(CITATION.sub("", text))


def _letters(text: str) -> str:
    return re.sub("[^ab]", "", text)  # numbers of a list go


def test_citations_of_nothing_are_cut_out_and_named() -> None:
    assert without_unknown("It is red [7]. It is big [1] [12].", [1, 2]) == ("It is red. It is big [1].", (7, 12))


@pytest.mark.parametrize(
    ("said", "kept", "dropped"),
    [
        ("Red [1, 2].", "Red [1][2].", ()),
        ("Red [2, 99].", "Red [2].", (99,)),
        ("Red [1-3].", "Red [1][2].", (3,)),
        ("Red [77-78] [1900\u20131999].", "Red.", (77, 78, 1900, 1999)),
        ("Red [ 99 ]\u30109\u3011\u30101\u3011 [^2] [00002].", "Red[1] [2] [2].", (99, 9)),
        ("Red [1[9]2].", "Red.", (9, 12)),
        ("Red [1, ", "Red", ()),
    ],
)
def test_lists_and_ranges_and_other_brackets_are_citations_too(said: str, kept: str, dropped: tuple[int, ...]) -> None:
    assert without_unknown(said, [1, 2]) == (kept, dropped)


@given(st.text(st.sampled_from("a [12]9,-"), max_size=40))
def test_whatever_is_written_only_known_passages_stay_cited(text: str) -> None:
    for end in range(len(text) + 1):  # as it grows
        kept, dropped = without_unknown(text[:end], [1, 2])
        assert {int(number) for number in CITATION.findall(kept)} <= {1, 2}
        assert not {1, 2} & set(dropped)


def test_a_turn_carries_its_passages_as_plain_data() -> None:
    from grounding import PASSAGES

    question, answer = asked("How?", PASSAGES[:2], "So. [1]")
    assert (question.text, answer.text) == ("How?", "So. [1]")
    assert placed_at(question) == list(PASSAGES[:2])
