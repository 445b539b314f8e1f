"""Chunks: exact slices that cover the document, within their size, whatever the text and the tokenizer."""

# ruff: noqa: RUF001 (marks and letters of many languages look alike)

import re
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phireside.errors import SettingsError
from phireside.retrieval.chunking import Chunk, Chunking, chunk
from phireside.retrieval.loading import Loaded, Section
from phireside.retrieval.sentences import paragraphs, sentences

WAYS = ["sentences", "paragraphs", "tokens", "headings"]


def words(text: str) -> int:
    return len(text.split())


def pieces(text: str) -> int:
    """A tokenizer whose sizes do not add up: 4 bytes to a token, two around each text."""
    return 2 + (len(text.encode()) + 3) // 4


def document(*texts: str, headings: tuple[str, ...] = ()) -> Loaded:
    return Loaded("T", "txt", tuple(Section(text, *headings[n : n + 1]) for n, text in enumerate(texts)))


def cut(text: str, how: str, size: int, overlap: int = 0, title: bool = False) -> list[str]:
    chunking = Chunking(how, size, overlap, title)  # type: ignore[arg-type]
    return [each.text for each in chunk(document(text), chunking, words)]


PROSE = "One two three. Four five six seven.\n\nEight nine. Ten eleven twelve thirteen fourteen. Fifteen."


def test_sentences_are_kept_whole_and_taken_together() -> None:
    assert cut(PROSE, "sentences", 9) == [
        "One two three. Four five six seven.\n\nEight nine.",
        "Ten eleven twelve thirteen fourteen. Fifteen.",
    ]


def test_a_chunk_of_paragraphs_ends_with_one_if_that_is_not_far_back() -> None:
    assert cut(PROSE, "paragraphs", 9) == [
        "One two three. Four five six seven.",
        "Eight nine. Ten eleven twelve thirteen fourteen. Fifteen.",
    ]
    three = "A b c.\n\nD e f.\n\nG h i. J k l."
    assert cut(three, "paragraphs", 10) == ["A b c.\n\nD e f.", "G h i. J k l."]
    assert cut("Title\n\n" + "word " * 8 + "end. More.", "paragraphs", 10)[0].startswith("Title\n\nword")


def test_windows_are_full_and_overlap_by_just_as_much() -> None:
    found = [each.split() for each in cut(" ".join(map(str, range(50))), "tokens", 10, 4)]
    assert [(len(each), each[0]) for each in found[:-1]] == [(10, str(6 * n)) for n in range(len(found) - 1)]
    assert found[-1][-1] == "49"


def test_the_overlap_is_measured_as_it_stands_in_the_text() -> None:
    found = chunk(document("a b c d e f g h"), Chunking("tokens", 8, 4, False), len)
    assert [each.text for each in found] == ["a b c d", "c d e f", "e f g h"]


def test_a_word_that_a_tokenizer_does_not_know_is_cut_and_never_given_to_it_whole() -> None:
    asked = []
    found = chunk(document("x" * 100_000), Chunking("sentences", 10, 0, False), lambda text: asked.append(text) or 1)
    assert max(len(each.text) for each in found) <= 10 * 12 + 11
    assert max(map(len, asked)) <= 10 * 12 + 11


def test_no_chunk_goes_across_a_heading_but_across_pages_of_one() -> None:
    loaded = document("A b.", "C d.", "E f.", headings=("x", "x", "y"))
    found = chunk(loaded, Chunking("headings", 50, 10, False), words)
    assert [(each.text, each.heading) for each in found] == [("A b.\n\nC d.", "x"), ("E f.", "y")]
    assert len(chunk(loaded, Chunking("paragraphs", 50, 0, False), words)) == 1


def test_a_heading_alone_goes_with_what_stands_under_the_next() -> None:
    guide = Section("# Guide", "Guide")
    loaded = Loaded("T", "md", (guide, Section("## Use\n\nA b.", "Guide > Use"), Section("## End", "Guide > End")))
    found = chunk(loaded, Chunking("headings", 50, 10), words)
    assert [(each.text, each.heading) for each in found] == [
        ("# Guide\n\n## Use\n\nA b.", "Guide > Use"),
        ("## End", "Guide > End"),
    ]
    assert found[0].before == "T\nGuide > Use\n"


def test_a_sentence_that_is_too_long_is_cut_between_words_and_a_word_within() -> None:
    assert cut("a b c d e f g.", "sentences", 3) == ["a b c", "d e f", "g."]
    found = chunk(document("x" * 100), Chunking("sentences", 12, 0, False), pieces)
    assert "".join(each.text for each in found) == "x" * 100
    assert max(map(len, (each.text for each in found))) <= 40


def test_title_and_heading_are_searched_with_the_text_but_are_no_part_of_it() -> None:
    loaded = Loaded("Stoves", "md", (Section("a b c d e f", "Iron"),))
    found = chunk(loaded, Chunking("tokens", 6, 0, True), words)
    assert found[0] == Chunk("a b c d", 0, 7, "Iron", None, "Stoves\nIron\n")
    assert found[0].searched == "Stoves\nIron\na b c d"
    repeated = Loaded("Iron", "md", (Section("a", "Iron > Cast"),))
    assert chunk(repeated, Chunking(), words)[0].before == "Iron > Cast\n"


def test_a_long_title_takes_a_third_of_a_chunk_at_most() -> None:
    found = chunk(Loaded("many words " * 50, "txt", (Section("a b c d e f"),)), Chunking("tokens", 6, 0), words)
    assert [words(each.searched) for each in found] == [6, 4]


def test_pages_come_with_their_chunks() -> None:
    loaded = Loaded("T", "pdf", (Section("a b c.", "", 1), Section("d e f.", "", 2)))
    found = chunk(loaded, Chunking("sentences", 3, 0, False), words)
    assert [(each.text, each.page) for each in found] == [("a b c.", 1), ("d e f.", 2)]


@pytest.mark.parametrize("bad", [{"size": 0}, {"overlap": -1}, {"size": 5, "overlap": 5}, {"how": "pages"}])
def test_numbers_that_cannot_be_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(SettingsError):
        Chunking(**bad)  # type: ignore[arg-type]


TEXTS = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from(["Ab cd. ", "e f! ", "\n\n", "\n", "。", "x" * 70, "é\u0301\u200d", "- a\n"]),
    ),
    max_size=30,
).map("".join)


@given(
    st.lists(TEXTS.filter(str.strip), min_size=1, max_size=4),
    st.sampled_from(WAYS),
    st.integers(8, 40),
    st.integers(0, 7),
    st.booleans(),
    st.sampled_from([words, pieces, lambda text: len(text)]),
)
def test_chunks_are_slices_that_cover_everything_and_keep_their_size(
    texts: list[str], how: str, size: int, overlap: int, title: bool, count: Callable[[str], int]
) -> None:
    loaded = document(*texts, headings=("a", "a", "b"))
    found = chunk(loaded, Chunking(how, size, overlap, title), count)  # type: ignore[arg-type]
    whole, around = loaded.text, count("")
    assert all(each.text == whole[each.start : each.end] == each.text.strip() != "" for each in found)
    assert all(count(each.searched) <= size for each in found)
    covered = [False] * len(whole)
    for each in found:
        covered[each.start : each.end] = [True] * (each.end - each.start)
    assert "".join(char for char, seen in zip(whole, covered, strict=True) if not seen).strip() == ""
    for before, after in pairwise(found):
        assert before.start < after.start
        assert before.end < after.end
        assert count(whole[after.start : before.end]) - around <= overlap or after.start >= before.end
        assert overlap or after.start >= before.end


@given(TEXTS)
def test_sentences_lose_nothing_but_blanks(text: str) -> None:
    for way in (sentences, paragraphs):
        spans = list(way(text, 0, len(text)))
        assert "".join(re.sub(r"\s", "", text[a:b]) for a, b in spans) == re.sub(r"\s", "", text)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


LINES = {
    "letters": "a" * 500_000,
    "dots": "." * 500_000,
    "marks": "! " * 250_000,
    "empty lines": "\n " * 250_000 + "x",
    "blanks": "x" + " " * 500_000 + "x",
    "quotes": '."' * 250_000,
    "Chinese": "漢" * 500_000,
    "joiners": "\u200d" * 500_000,
}


@pytest.mark.parametrize("name", LINES)
def test_the_cost_grows_with_the_length_and_not_with_its_square(name: str) -> None:
    """Each is measured against its own quarter."""
    text = LINES[name]
    seconds = []
    for part in (text[: len(text) // 4], text):
        started = time.thread_time()
        chunk(document(part + "x"), Chunking("sentences", 200, 32, False), pieces)
        seconds.append(time.thread_time() - started)
    assert seconds[1] < 16 * seconds[0] + 0.5  # 4 is linear, 16 would be the square


SENTENCES = {
    "English": "Dr. Smith went to Washington on Jan. 5.|“Really?” she asked.|J. R. Tolkien did!|It cost 3.50.|OK...",
    "lower case goes on": "It ended... and so on.|Yahoo! is a name.",
    "German": "Am 3. Oktober war z.B. Dr. Meier da.|„Wirklich?“ fragte er.|Es kostet ca. 5 Mio. Euro.|Gut.",
    "French": "M. Dupont est là.|Où est-il ?|Il dit : « Bonjour. »|Puis il part.",
    "Spanish": "¿Qué tal?|La Sra. López vino.|¡Bien!",
    "Russian": "Он родился в 1984 г. в Москве.|Да.",
    "Arabic": "هل أنت بخير؟|نعم.|شكرا.",
    "Hindi": "यह एक वाक्य है।|यह दूसरा है।",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_sentences_of_many_languages(language: str) -> None:
    expected = SENTENCES[language].split("|")
    text = " ".join(expected)
    assert [text[a:b] for a, b in sentences(text, 0, len(text))] == expected


def test_lines_of_lists_and_tables_are_sentences() -> None:
    text = "Buy:\n- one thing\n* two\n| a | b |\n3. More\nof it"
    expected = ["Buy:", "- one thing", "* two", "| a | b |", "3. More\nof it"]
    assert [text[a:b] for a, b in sentences(text, 0, len(text))] == expected


def test_sentences_without_blanks_between_them() -> None:
    text = "吾輩は猫である。「どこで。」とんと見当が！"
    assert [text[a:b] for a, b in sentences(text, 0, len(text))] == [
        "吾輩は猫である。",
        "「どこで。」",
        "とんと見当が！",
    ]
