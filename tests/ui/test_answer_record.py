"""What is kept with an answer, read from a database; and passages as Markdown that shows them as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from phireside.ui.answer_record import AnswerRecord, Passage, Said, pieces, record_of
from phireside.ui.safe_text import with_citations

KILN = "The kiln was built in 1884.\nIt burns oak and beech. Visitors may come on Sundays."


def answer(ours: object) -> AIMessage:
    return AIMessage("Oak. [1]", additional_kwargs={"phireside": ours})


def test_passages_are_found_by_their_numbers_and_only_those_that_are_cited():
    rows = [{"number": 2, "title": "B"}, {"number": 3, "title": "C"}]
    record = record_of(answer({"passages": rows}))
    assert {number: passage.name for number, passage in record.cited("x [3] y [3][1] [2]").items()} == {3: "C", 2: "B"}


@pytest.mark.parametrize(
    ("place", "inside"),
    [
        ("", ""),
        ("Rules", ""),
        ("Rules > Keys, page 3", "Keys, page 3"),
        ("Rules, page 3", "page 3"),
        ("Ruleset", "Ruleset"),
    ],
)
def test_the_place_of_a_passage_does_not_say_the_title_again(place, inside):
    assert Passage(title="Rules", place=place).inside == inside


def test_what_was_taken_back_cites_nothing():
    claims = [
        {"text": "Oak.", "cited": [1], "verdict": "supported", "score": 1},
        {"text": "Gold.", "cited": [1], "verdict": "none", "score": 0},
    ]
    record = record_of(answer({"claims": claims}))
    assert [claim.text for claim in record.citing(1)] == ["Oak."]
    assert [claim.text for claim in record.withdrawn] == ["Gold."]


@pytest.mark.parametrize(
    "ours", [None, "text", [1], {"steps": "x", "passages": {"a": 1}, "claims": [3]}, {"feedback": 9}]
)
def test_what_cannot_be_used_is_as_if_it_were_not_there(ours):
    assert record_of(answer(ours)) == AnswerRecord()


def test_one_bad_part_leaves_the_others():
    record = record_of(answer({"steps": [{"kind": "thought"}], "claims": 7, "unknown": 1}))
    assert record == AnswerRecord(steps=({"kind": "thought"},))


def test_the_sentence_that_bears_a_claim_out_is_marked():
    found = pieces(KILN, [Said(text="It burns oak."), Said(text="It was built in 1884."), Said(text="Cats purr.")])
    assert [text for text, mark in found if mark] == ["The kiln was built in 1884.", "It burns oak and beech."]


@given(st.text(alphabet=st.sampled_from("ab.! \n1"), max_size=40), st.lists(st.sampled_from(["a", "b a", "1 ab."])))
def test_all_of_a_passage_is_shown_once(text, claims):
    assert "".join(piece for piece, _ in pieces(text, [Said(text=claim) for claim in claims])) == text


def test_sources_that_say_nothing_to_a_person_are_not_shown():
    assert Passage(title="kiln.txt", source="upload:1", place="page 3").where == ["page 3"]
    assert Passage(title="Kilns", source="/home/ann/kiln.txt").where == ["/home/ann/kiln.txt"]
    assert Passage(source="kiln.txt").where == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("It burns oak. [1]", "It burns oak. :orange-badge[1]"),
        ("Oak[1][2].", "Oak:orange-badge[1]:orange-badge[2]."),
        ("No passage [9].", "No passage [9]."),
        ("`x[1]` and \\[1]", "`x[1]` and \\[1]"),
        ("[1](http://127.0.0.1/) and\n[1]: http://127.0.0.1/", "[1](http://127.0.0.1/) and\n[1]: http://127.0.0.1/"),
    ],
)
def test_citations_of_passages_are_badges(text, shown):
    assert with_citations(text, {1, 2}) == shown
