"""The words of a passage that answer: which phrases there are, which is chosen, and the short form of a sentence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phireside.chains.rag.words import Phrase, best, phrases, short_answer

NORMANS = {
    1: "The Normans were the people who gave their name to Normandy, a region in France.",
    2: "They were led by Rollo; the deal was made with King Charles III. of West Francia in 911.",
}


def test_phrases_are_verbatim_name_their_passage_and_say_more_than_the_question() -> None:
    found = phrases("In what country is Normandy?", NORMANS)
    assert {(each.text, each.passage) for each in found} >= {("France", 1), ("region in France", 1), ("Rollo", 2)}
    assert all(each.text in NORMANS[each.passage] for each in found)
    assert "Normandy" not in {each.text for each in found}


def test_sentences_that_share_words_with_the_question_come_first_and_their_number_is_bounded() -> None:
    found = phrases("Who made the deal with King Charles?", NORMANS, 3)
    assert len(found) == 3
    assert {each.passage for each in found} == {2}


@given(st.text(max_size=200), st.text(max_size=40))
def test_any_text_gives_phrases_that_stand_in_it(text: str, question: str) -> None:
    assert all(each.text in text and each.text for each in phrases(question, {1: text}))


def test_what_is_probable_whatever_is_asked_does_not_win() -> None:
    options = [Phrase("The Normans", 1, 0.5), Phrase("Rollo", 2, 0.5)]
    assert best(options, np.array([-2.0, -4.0]), np.array([-2.0, -9.0])).text == "Rollo"
    options = [Phrase("France", 1, 0.0), Phrase("Rollo", 2, 1.0)]
    assert best(options, np.array([-4.0, -5.0]), np.array([-9.0, -9.0])).text == "Rollo"


@pytest.mark.parametrize(
    ("said", "question", "expected"),
    [
        ("Normandy is located in France.", "In what country is Normandy located?", "France"),
        ("The leader of the Normans was Rollo, a Viking.", "Who was the leader of the Normans?", "Rollo"),
        ("It was Napoleon.", "Who was it?", ""),
        ("", "Who?", ""),
    ],
)
def test_the_short_answer_is_what_the_question_did_not_say(said: str, question: str, expected: str) -> None:
    assert short_answer(said, question, list(NORMANS.values())) == expected
