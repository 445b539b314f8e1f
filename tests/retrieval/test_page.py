"""The text of a page, and the encoding of any text: pages that are made to be slow, large or deep are refused."""

import pytest
from websites import SENTENCE

from phireside.errors import DocumentTooLargeError
from phireside.retrieval.loading.page import page_text
from phireside.retrieval.loading.text import decoded, tidy

# Their cost grows with the square of their length.
BOMBS = {
    "attributes": "<html><body><div " + " ".join(f"a{n}=1" for n in range(200_000)) + ">hello",
    "doctype": "<!DOCTYPE " + "/" * 2_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_page_that_its_parser_takes_minutes_for_is_given_up(name: str) -> None:
    with pytest.raises(DocumentTooLargeError, match=r"longer than 0\.6 s"):
        page_text(BOMBS[name].encode(), seconds=0.6)


@pytest.mark.parametrize("tag", ["div", "span", "ul><li", "blockquote", "table><tr><td"])
def test_a_hundred_thousand_nested_tags_are_read_or_refused(tag: str) -> None:
    page = f"<html><body>{f'<{tag}>' * 100_000}hello"
    assert len(page_text(page.encode()).text) < 100


def test_a_page_with_entities_and_outside_references_stays_small() -> None:
    entities = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    page = f'<!DOCTYPE html [<!ENTITY a0 "lol">{entities}<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    found = page_text(
        f"{page}<html><body><article><p>{SENTENCE * 5}</p><p>&a9; &x;</p></article></body></html>".encode()
    )
    assert "root:" not in found.text
    assert found.length < 5000


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("süß".encode(), "", "süß"),
        ("süß".encode(), "iso-8859-1", "süß"),
        ("süß".encode("latin-1"), "utf-8", "süß"),
        ("süß".encode("latin-1"), "punycode", "süß"),
        ("süß".encode("utf-16"), "", "süß"),
        ("süß".encode("utf-16-be"), "utf-16-be", "süß"),
        ("日本".encode("shift_jis"), "Shift_JIS", "日本"),
        ("日本".encode("iso-2022-jp"), "iso-2022-jp", "日本"),
        (b'<meta charset="koi8-r">' + "мир".encode("koi8-r"), "", '<meta charset="koi8-r">мир'),
        ("\ufeffx".encode(), "ascii", "x"),
        (b"\x81\xff", "", "\ufffdÿ"),
        (b"", "zlib", ""),
    ],
)
def test_a_page_is_decoded_as_its_bytes_are_and_not_as_its_sender_says(body: bytes, charset: str, text: str) -> None:
    assert decoded(body, charset) == text


def test_control_characters_and_piles_of_empty_lines_go() -> None:
    assert tidy("a\x00\x1b[31m\x9b b\r\n \n\n\n\tc\u2028") == "a [31m  b\n\n\tc"


@pytest.mark.parametrize("piece", [" ", "\n ", "\n", " \n\n", "\r\n\t"])
def test_a_million_blanks_cost_no_more_than_a_million_letters(piece: str) -> None:
    assert tidy("a" + piece * 1_000_000 + "b")[0] == "a"  # its cost once grew with the square: half an hour


def test_what_the_process_writes_is_bounded() -> None:
    head = f"<!doctype html><title>{'t' * 9999}</title>"
    found = page_text(f"{head}<article>{f'<p>{SENTENCE * 3}</p>' * 50}</article>".encode(), longest=50)
    assert (len(found.title), len(found.text)) == (200, 50)
    assert found.length > 50
