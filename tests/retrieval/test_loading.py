"""Loading: what comes out of a good document of each kind, and what is said of one that is none."""

import io
import os
from pathlib import Path

import pytest
from papers import FOX, docx, epub, pdf, zipped
from websites import HTML, PAGE, SENTENCE, site

from phireside.errors import DocumentError, DocumentTooLargeError
from phireside.retrieval.fetch import Limits
from phireside.retrieval.loading import KINDS, LoadLimits, Section, label, load_bytes, load_file, load_page

MARKDOWN = """---
title: "The stove"
---
Before.

# Stoves

```
# no heading
    indented
```

Under
=====

one

## Iron ##

two
"""
PARAGRAPH = f"<p>{FOX * 8}</p>"
SAVED = (
    "<html><head><title>Stoves &amp; fires</title><style>p {}</style></head><body><nav><a href='/'>Home</a></nav>"
    f"<ul id='side'>{'<li><a href=x>Another page of the site</a></li>' * 20}</ul>"
    f"<main><h1>Stoves</h1>{PARAGRAPH * 2}<h2>Iron</h2>{PARAGRAPH}<ul><li>one of them</li><li>two of them</li></ul>"
    f"<table><tr><th>Wood</th><th>Heat</th></tr><tr><td>Oak</td><td>4.2</td></tr></table>{PARAGRAPH}</main>"
    "<script>var x = 'never';</script></body></html>"
)


def texts(name: str, data: bytes) -> list[tuple[str, str]]:
    """Heading and text of each section."""
    return [(section.heading, section.text) for section in load_bytes(name, data).sections]


def test_a_text_file_is_one_section_and_named_like_the_file(tmp_path: Path) -> None:
    file = tmp_path / "Notes.TXT"
    file.write_bytes(b"one\r\n\r\n\r\n\r\n  two  \x00".replace(b"\x00", b"\x07"))
    loaded = load_file(file)
    assert (loaded.title, loaded.kind) == ("Notes.TXT", "txt")
    assert loaded.sections == (Section("one\n\n  two"),)


RUSSIAN = "Это небольшой текст на русском языке, написанный для проверки. "
CODED = [
    ("süß", "utf-8"),
    ("süß", "utf-8-sig"),
    ("süß", "utf-16"),
    ("süß", "utf-32"),
    ("Käse und süße Grüße aus München", "latin-1"),
    (RUSSIAN.strip(), "cp1251"),
    ("吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。", "shift_jis"),
]


@pytest.mark.parametrize(("text", "coding"), CODED, ids=[coding for _, coding in CODED])
def test_text_is_read_in_the_encoding_that_it_has(text: str, coding: str) -> None:
    assert load_bytes("a.txt", text.encode(coding)).text == text


def test_markdown_is_cut_at_its_headings_and_code_is_left_alone() -> None:
    assert load_bytes("a.md", MARKDOWN.encode()).title == "The stove"
    assert texts("a.md", MARKDOWN.encode()) == [
        ("", "Before."),
        ("Stoves", "# Stoves\n\n```\n# no heading\n    indented\n```"),
        ("Under", "Under\n\none"),
        ("Under > Iron", "## Iron ##\n\ntwo"),
    ]
    assert load_bytes("a.md", b"intro\n\n# First #\nx").title == "First"
    assert load_bytes("C:\\notes\\a.md", b"intro\n\n## Second\nx").title == "a.md"


@pytest.mark.parametrize(
    ("front", "title"),
    [("title: Stove's", "Stove's"), ("# comment\n\ntitle: 'A b'", "A b"), ("title: 'Tis", "'Tis"),
     ("title: ''", "First"), ("tags: [a]", "First"), ("", "First"), (" ", "First")],
)  # fmt: skip
def test_front_matter_may_have_a_title(front: str, title: str) -> None:
    loaded = load_bytes("a.md", f"---\n{front}\n---\n\n# First\n\ntext".encode())
    assert (loaded.title, loaded.text) == (title, "# First\n\ntext")


def test_a_text_between_two_lines_is_no_front_matter() -> None:
    data = b"---\nThe first part, as long as you like.\n\n---\nThe second: short.\n"
    assert load_bytes("a.md", data).text == data.decode().strip()


def test_a_saved_page_is_its_readable_part_under_its_headings() -> None:
    loaded = load_bytes("a.html", SAVED.encode())
    assert loaded.title == "Stoves & fires"
    assert [section.heading for section in loaded.sections] == ["Stoves", "Stoves > Iron"]
    assert "- one of them\n- two of them" in loaded.text
    assert "| Wood | Heat |\n| Oak | 4.2 |" in loaded.text
    assert not [word for word in ("Home", "never", "Another page") if word in loaded.text]


def test_a_page_without_an_article_is_read_whole() -> None:
    page = b"<title>t</title><h2>Hours</h2><p>Open on <b>Monday</b>.<p>Closed on&nbsp;Sunday.<pre>a\n  b</pre>"
    assert texts("a.htm", page) == [("Hours", "Hours\n\nOpen on Monday.\n\nClosed on Sunday.\n\na\n  b")]


def test_a_table_s_rows_name_their_columns() -> None:
    assert load_bytes("a.csv", b'name,born\nAda,1815\n"Tur\ning, A.",1912\n,\n').text == (
        "name: Ada; born: 1815\n\nname: Tur ing, A.; born: 1912"
    )
    assert load_bytes("a.csv", "Stadt;Höhe\nUlm;478".encode("cp1252")).text == "Stadt: Ulm; Höhe: 478"
    assert load_bytes("a.tsv", b"1\t2,5\n3\t4\t5").text == "1; 2,5\n\n3; 4; 5"
    assert load_bytes("a.csv", b"name,born").text == "name; born"
    for rows in (1000, 2001):
        assert load_bytes("a.csv", b"name,born\n" + b"Ada,1815\n" * rows + b"\n").text.count("name: Ada") == rows
        assert "name; born" not in load_bytes("a.csv", b"name,born\n" + b"Ada,1815\n" * rows).text


def test_a_pdf_has_pages_under_its_outline() -> None:
    data = pdf(["Preface", "The fire is exam-\nined daily.", "Ash"], [("Part I", 2), ("Part II", 3)], title="Stoves")
    loaded = load_bytes("a.pdf", data)
    assert loaded.title == "Stoves"
    assert loaded.sections == (
        Section("Preface", "", 1),
        Section("The fire is examined daily.", "Part I", 2),
        Section("Ash", "Part II", 3),
    )


def test_a_word_document_has_headings_lists_and_tables() -> None:
    parts = [("Title", "Stoves"), ("Heading 1", "Iron"), ("Normal", FOX), ("List Bullet", "a"), ("List Bullet", "b")]
    parts += [("Normal", "Oak\t4.2"), ("Heading 2", "Cast"), ("Normal", "end")]
    assert texts("a.docx", docx(parts)) == [
        ("Stoves", "Stoves"),
        ("Iron", f"Iron\n\n{FOX.strip()}\n\n- a\n- b\n| Oak | 4.2 |"),
        ("Iron > Cast", "Cast\n\nend"),
    ]


def test_word_text_in_controls_and_insertions_is_read_and_deleted_text_is_not() -> None:
    from papers import with_body

    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    inside = "<w:ins><w:r><w:t>added </w:t></w:r></w:ins><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
    body = (
        f"<w:sdt><w:sdtContent><w:p>{inside}<w:r><w:t>kept</w:t><w:tab/><w:t>x</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    )
    data = with_body(f'<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>')
    assert load_bytes("a.docx", data).text == "added kept\tx"


def test_a_book_is_its_chapters_in_order() -> None:
    chapters = {"b.xhtml": f"<html><body><h1>One</h1><p>{FOX}</p></body></html>", "a.xhtml": "<p>Two &eacute;</p>"}
    loaded = load_bytes("a.epub", epub(chapters))
    assert loaded.title == "A book"
    assert [section.text for section in loaded.sections] == [f"One\n\n{FOX.strip()}", "Two é"]


def test_a_book_that_another_program_wrote_is_read(tmp_path: Path) -> None:
    ebooklib = pytest.importorskip("ebooklib.epub")
    book = ebooklib.EpubBook()
    book.set_title("Written")
    chapter = ebooklib.EpubHtml(title="One", file_name="one.xhtml", content=f"<h1>One</h1><p>{FOX}</p>")
    book.add_item(chapter)
    book.add_item(ebooklib.EpubNav())
    book.add_item(ebooklib.EpubNcx())
    book.spine = ["nav", chapter]
    ebooklib.write_epub(str(tmp_path / "a.epub"), book)
    loaded = load_file(tmp_path / "a.epub")
    assert (loaded.title, loaded.text) == ("Written", f"One\n\n{FOX.strip()}")


def locked_pdf() -> bytes:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(PdfReader(io.BytesIO(pdf())))
    writer.encrypt("secret", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def locked_zip(data: bytes) -> bytes:
    """An archive that says its first file is encrypted."""
    at = data.index(b"PK\x01\x02") + 8
    return data[:at] + b"\x01" + data[at + 1 :]


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
DRM = "<encryption xmlns='x'><EncryptionMethod Algorithm='http://www.w3.org/2001/04/xmlenc#aes128-cbc'/></encryption>"
REFUSED = {
    "program": ("a.pdf", b"MZ\x90\0\x03", "looks like a Windows program, where its name says a PDF"),
    "no pdf": ("a.pdf", b"hello", "is not a PDF, as its name says"),
    "pdf as text": ("a.txt", b"%PDF-1.4 x", "looks like a PDF, where its name says text"),
    "NUL": ("a.txt", b"a\0b", "is not text, as its name says"),
    "picture": ("a.md", b"\x89PNG\r\n\x1a\n\0", "looks like a picture"),
    "zip": ("a.docx", zipped({"x": "y"}), "is a zip archive, but no docx"),
    "word as epub": ("a.epub", docx(), "is a zip archive, but no epub"),
    "old word": ("a.docx", OLE, "of before 2007"),
    "half": ("a.docx", docx()[:5000], "is damaged"),
    "half a pdf": ("a.pdf", pdf()[:100], "is damaged"),
    "password": ("a.docx", OLE + "EncryptedPackage".encode("utf-16-le"), "is protected by a password"),
    "zip password": ("a.docx", locked_zip(docx()), "is protected by a password"),
    "pdf password": ("a.pdf", locked_pdf(), "is protected by a password"),
    "drm": ("a.epub", epub({"a.xhtml": "<p>x"}, encryption=DRM), "protected by its publisher"),
    "scanned": ("a.pdf", pdf([""]), "has no text: its pages are pictures"),
    "empty": ("a.txt", b"", "is empty"),
    "blank": ("a.md", b"\xef\xbb\xbf \r\n", "is empty"),
    "no words": ("a.html", b"<html></html>", "has no text"),
    "unknown": ("a.exe", b"x", "of a kind that is not known here (.exe)"),
    "no suffix": ("README", b"x", "of a kind that is not known here (no suffix)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_named_and_says_why(case: str) -> None:
    name, data, why = REFUSED[case]
    with pytest.raises(DocumentError) as caught:
        load_bytes(name, data)
    assert caught.value.message.startswith(name)
    assert why in caught.value.message


def test_what_is_too_large_says_how_large_it_may_be() -> None:
    with pytest.raises(DocumentTooLargeError, match=r"more than 10 bytes"):
        load_bytes("a.txt", b"x" * 11, LoadLimits(file_bytes=10))
    with pytest.raises(DocumentTooLargeError, match=r"more than 10 characters of text"):
        load_bytes("a.txt", b"x" * 11, LoadLimits(text_chars=10))
    assert load_bytes("a.txt", b"x" * 10, LoadLimits(text_chars=10, file_bytes=10)).text == "x" * 10


def test_only_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    for name in ("folder.txt", "pipe.txt", "none.txt"):
        with pytest.raises(DocumentError, match=f"{name} is no file"):
            load_file(tmp_path / name)


def test_every_suffix_has_a_parser() -> None:
    for suffix in KINDS:
        with pytest.raises(DocumentError, match="is empty"):
            load_bytes(f"a{suffix.upper()}", b"")


NAMES = {
    "a.pdf": "a.pdf",
    "../../etc/x.txt": "x.txt",
    "C:\\Users\\a\\b.md": "b.md",
    "a\x00b\nc.txt": "ab c.txt",
    "\u202egnp.exe\u202c.txt": "gnp.exe.txt",
    "<img src=x>.md": "<img src=x>.md",
    "\ud800.txt": "txt",
    "é.txt": "é.txt",
    "": "document",
    " . ": "document",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_label_is_one_visible_line(name: str) -> None:
    assert label(name) == NAMES[name]


def test_a_long_label_keeps_its_suffix() -> None:
    assert len(label("x" * 300 + ".docx")) == 120
    assert label("x" * 300 + ".docx").endswith("x.docx")


def test_a_page_of_the_web_is_loaded_as_what_its_server_says_it_is(loopback: None) -> None:
    routes = {
        "/page": (200, HTML, PAGE.encode()),
        "/report": (200, {"Content-Type": "application/pdf"}, pdf(["Ash"])),
        "/notes.md": (200, {"Content-Type": "text/plain; charset=utf-8"}, b"# Notes\n\nx"),
        "/a.zip": (200, {"Content-Type": "application/zip"}, b"PK"),
    }
    with site(routes) as here:
        get = Limits(allow=here.allowed)
        assert load_page(here.url + "/page", get=get).text.startswith(SENTENCE)
        assert load_page(here.url + "/report", get=get).sections[0].page == 1
        assert load_page(here.url + "/notes.md", get=get).text == "# Notes\n\nx"
        for path, why in (("/none", "answers 404"), ("/a.zip", "kind that is not known")):
            with pytest.raises(DocumentError, match=why):
                load_page(here.url + path, get=get)
        with pytest.raises(DocumentError, match="not a public address"):
            load_page(here.url + "/page")
