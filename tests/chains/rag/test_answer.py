"""How a text with `[n]` is read: sentences, what they cite, and citations of nothing."""

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
    ],
)
def test_sentences_and_what_they_cite(text: str, expected: list[tuple[str, tuple[int, ...]]]) -> None:
    assert [(claim.text, claim.cited) for claim in claims(text)] == expected


@given(st.text(st.sampled_from("ab .[]12!?\n"), max_size=60))
def test_no_citation_and_no_word_is_lost_between_sentences(text: str) -> None:
    found = claims(text)
    assert {number for claim in found for number in claim.cited} == set(map(int, CITATION.findall(text)))
    assert "".join("".join(claim.text.split()) for claim in found) == "".join(CITATION.sub("", text).split())


def test_citations_of_nothing_are_cut_out_and_named() -> None:
    assert without_unknown("It is red [7]. It is big [1] [12].", [1, 2]) == ("It is red. It is big [1].", (7, 12))


@given(st.text(st.sampled_from("a [12]9"), max_size=40))
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
