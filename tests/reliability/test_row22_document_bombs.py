"""Row 22: documents that grow without end are refused within limits, or read if they are harmless after all."""

import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from papers import CONTAINER, docx, epub, pdf, pdf_of, with_body, zipped

from phireside.retrieval.loading import LoadLimits

Figure = Callable[[int, str], None]

SECONDS, MEMORY = 10, 512_000_000  # what a document may take here
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
ENTITIES = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
LAUGHS = f'<!DOCTYPE x [<!ENTITY a0 "lol">{ENTITIES}]>'


def table(rows: int, columns: int) -> str:
    cells = (f"<w:tc><w:p><w:r><w:t>{n * 7919 % 99991}</w:t></w:r></w:p></w:tc>" for n in range(rows * columns))
    return "".join(f"<w:tr>{''.join(islice(cells, columns))}</w:tr>" for _ in range(rows))


def body(inside: str, before: str = "") -> str:
    return f'{before}<w:document xmlns:w="{WORD}"><w:body>{inside}</w:body></w:document>'


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def nested_zip() -> bytes:
    """Archives in archives; nothing unpacks what it does not need, so only the first counts."""
    inner = zipped({f"{n}.bin": bytes(1_000_000) for n in range(10)})
    for _ in range(4):
        inner = zipped({f"{n}.zip": inner for n in range(10)})
    return zipped({"[Content_Types].xml": "<Types/>", "word/document.xml": "<x/>", "inner.zip": inner})


BOMBS: dict[str, Callable[[], tuple[str, bytes]]] = {
    "docx, 40 MB of one letter": lambda: ("a.docx", with_body(body(paragraph("a" * 40_000_000)))),
    "docx, 240 MB in six files": lambda: ("a.docx", zipped({f"word/{n}.xml": bytes(40_000_000) for n in range(6)})),
    "docx, 30 MB of paragraphs": lambda: ("a.docx", with_body(body("".join(map(paragraph, map(str, range(600_000))))))),
    "docx, 9e5 cells": lambda: (
        "a.docx",
        with_body(body(f"<w:tbl>{table(900, 1000)}</w:tbl>")),
    ),
    "docx, nested tables": lambda: ("a.docx", with_body(body("<w:tbl><w:tr><w:tc>" * 100_000))),
    "docx, entities": lambda: ("a.docx", with_body(body(paragraph("&a9;"), LAUGHS))),
    "docx, entities in UTF-16": lambda: ("a.docx", with_body(body(paragraph("&a9;"), LAUGHS).encode("utf-16"))),
    "docx, 10,000 files": lambda: ("a.docx", zipped({f"word/{n}": b"" for n in range(10_000)})),
    "docx, zips in zips": lambda: ("a.docx", nested_zip()),
    "epub, 40 MB chapter": lambda: ("a.epub", epub({"a.xhtml": "<p>" + "a" * 40_000_000})),
    "epub, 1e5 nested tags": lambda: ("a.epub", epub({"a.xhtml": "<div>" * 100_000 + "x"})),
    "epub, entities": lambda: ("a.epub", epub({"a.xhtml": f"{LAUGHS}<html><body><p>&a9; x</p></body></html>"})),
    "epub, entities in its list": lambda: ("a.epub", epub({"a.xhtml": "<p>x"}, container=LAUGHS + CONTAINER)),
    "html, 1e5 nested tags": lambda: ("a.html", b"<div>" * 100_000 + b"hello"),
    "html, 2e5 attributes": lambda: ("a.html", b"<div " + b" ".join(b"a%d=1" % n for n in range(200_000)) + b">hello"),
    "html, entities": lambda: ("a.html", f"{LAUGHS}<html><body><p>&a9; hello</p></body></html>".encode()),
    "html, 40 MB of tags": lambda: ("a.html", b"<b>x" * 10_000_000),
    "pdf, stream of 100 MB": lambda: ("a.pdf", pdf_of([b" " * 100_000_000])),
    "pdf, 30 MB of text": lambda: ("a.pdf", pdf_of([b"BT /F1 9 Tf " + b"(word word) Tj " * 2_000_000 + b"ET"])),
    "pdf, 20,000 pages": lambda: ("a.pdf", pdf(["x"] * 20_000)),
    "pdf, outline of 10,000": lambda: ("a.pdf", pdf(["x"], [(f"Part {n}", 1) for n in range(10_000)])),
    "pdf, outline in a circle": lambda: ("a.pdf", in_a_circle()),
    "pdf, packed five times": lambda: ("a.pdf", packed_often(200_000_000, 5)),
    "csv, 1e6 cells": lambda: ("a.csv", (b"," * 999 + b"\n") * 1000),
    "csv, one cell of 20 MB": lambda: ("a.csv", b'"' + b"a" * 20_000_000),
    "md, 1e6 headings": lambda: ("a.md", b"# a\n" * 1_000_000),
    "md, 1e6 open fences": lambda: ("a.md", b"```\n~~~\n" * 500_000),
    "txt, 45 MB": lambda: ("a.txt", b"word " * 9_000_000),
    "txt, 40 MB of blanks": lambda: ("a.txt", b"x" + b" \n" * 20_000_000 + b"x"),
}  # fmt: skip


def packed_often(size: int, times: int) -> bytes:
    """A PDF whose one stream has been deflated again and again, and says so."""
    content = b" " * size
    for _ in range(times - 1):
        content = zlib.compress(content, 9)
    return pdf_of([content]).replace(b"/Filter /FlateDecode", b"/Filter [" + b"/FlateDecode " * times + b"]")


def in_a_circle() -> bytes:
    """An outline whose last entry leads on to its first."""
    return pdf(["x"], [("a", 1), ("b", 1)]).replace(b"/Parent 7 0 R  /Dest", b"/Parent 7 0 R /Next 8 0 R /Dest")


HARMLESS = {  # read, and what must come out
    "pdf, outline of 10,000": "x",
    "pdf, outline in a circle": "x",
    "html, entities": "hello",
    "epub, entities": "x",
    "txt, 40 MB of blanks": "x",
}

PROGRAM = """
import json, resource, sys, time
from pathlib import Path
from phireside.errors import DocumentError
from phireside.retrieval.loading import LoadLimits, load_file
from phireside.retrieval.loading.process import end_children
started = time.perf_counter()
try:
    loaded = load_file(Path(sys.argv[1]), LoadLimits(seconds=float(sys.argv[2]), memory_bytes=int(sys.argv[3])))
    said, text = "", loaded.text
except DocumentError as error:
    said, text = f"{type(error).__name__}: {error}", ""
seconds = time.perf_counter() - started
end_children()
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the child; this program's would be the test's own
print(json.dumps({"said": said, "text": text[:200], "length": len(text), "seconds": seconds, "peak": peak / 1000}))
"""


def met(path: Path) -> dict[str, float | str]:
    """What happens to a file, in a program of its own; one that dies is a fault."""
    command = [sys.executable, "-c", PROGRAM, str(path), str(SECONDS), str(MEMORY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    found: dict[str, float | str] = json.loads(done.stdout)
    return found


QUICK = ["docx, 40 MB of one letter", "docx, entities", "epub, entities", "pdf, stream of 100 MB"]


@pytest.mark.parametrize("names", [QUICK, pytest.param(list(BOMBS), marks=pytest.mark.slow)], ids=["quick", "all"])
def test_bombs_are_refused_or_harmless(names: list[str], tmp_path: Path, figure: Figure) -> None:
    worst_seconds = worst_peak = 0.0
    refused = 0
    for name in names:
        suffix, data = BOMBS[name]()
        path = tmp_path / suffix
        path.write_bytes(data)
        del data
        found = met(path)
        path.unlink()
        print(name, found)
        refused += bool(found["said"])
        worst_seconds = max(worst_seconds, float(found["seconds"]))
        worst_peak = max(worst_peak, float(found["peak"]))
        assert bool(found["text"]) != bool(found["said"])
        if name in HARMLESS:
            assert HARMLESS[name] in found["text"]  # type: ignore[operator]
        assert int(found["length"]) <= LoadLimits().text_chars
    most = f"at most {worst_seconds:.1f} s and {worst_peak:.0f} MB"
    figure(22, f"{refused} of {len(names)} bombs refused, the others read without harm; {most}")
    assert worst_peak * 1e6 < MEMORY * 1.2
    assert worst_seconds < 3 * SECONDS  # the promise of the row; a child has to start first


def test_a_file_of_200_mb_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    assert "more than 50,000,000 bytes" in str(met(path)["said"])


def test_an_honest_document_is_no_bomb(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(docx([("Normal", f"Paragraph {n} about stoves.") for n in range(200)]))
    assert met(path)["said"] == ""
