"""Words that the keyword stage finds, in a text: stems and all, and nothing of the text is lost."""

from hypothesis import given
from hypothesis import strategies as st

from phireside.retrieval.marking import marked


def found(text, query):
    return [piece for piece, mark in marked([text], query)[0] if mark]


def test_words_are_found_by_their_stems_as_a_search_does():
    assert found("Foxes hunt; a fox hunted.", "hunting FOX?") == ["Foxes", "hunt", "fox", "hunted"]
    assert found("Is the fox in the house?", "where is the fox") == ["fox"], "Function words tell nothing."
    assert found("A café.", "cafe") == ["café"]
    assert found("Nothing of it.", "fox") == []


def test_nothing_in_a_query_is_an_operator():
    assert found('He said "NOT" OR (so)', '"not" AND (') == ["NOT"]
    assert marked(["a text"], "?!") == [[("a text", False)]]


@given(st.lists(st.text(), max_size=3), st.text())
def test_the_pieces_are_the_text(texts, query):
    for text, pieces in zip(texts, marked(texts, query), strict=True):
        assert "".join(piece for piece, _ in pieces) == text.replace("\0", "")
