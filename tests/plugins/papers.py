"""Small documents of every kind, good ones and bombs, written on the spot."""

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping

CONTAINER = (
    '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)
FOX = "The quick brown fox jumps over the lazy dog. "


def zipped(files: Mapping[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return out.getvalue()


def docx(paragraphs: Iterable[tuple[str, str]] = (("Title", "A stove"), ("Normal", FOX))) -> bytes:
    """Pairs of style and text; a text with tabs is a table's row."""
    from docx import Document

    document = Document()
    for style, text in paragraphs:
        if "\t" in text:
            cells = text.split("\t")
            table = document.add_table(rows=1, cols=len(cells))
            for cell, each in zip(table.rows[0].cells, cells, strict=True):
                cell.text = each
        else:
            document.add_paragraph(text, style=style)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def with_body(xml: str | bytes) -> bytes:
    """A docx whose whole document is `xml`."""
    source = zipfile.ZipFile(io.BytesIO(docx()))
    files = {name: source.read(name) for name in source.namelist()}
    return zipped(files | {"word/document.xml": xml})


def epub(chapters: Mapping[str, str], title: str = "A book", **more: str) -> bytes:
    """Chapters by file name; `more` are further files of META-INF."""
    items = "".join(
        f'<item id="c{n}" href="{name}" media-type="application/xhtml+xml"/>' for n, name in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    package = (
        '<package version="3.0" xmlns="http://www.idpf.org/2007/opf" unique-identifier="i">'
        f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></metadata>'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    files = {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "OEBPS/content.opf": package}
    files |= {f"META-INF/{name}.xml": body for name, body in more.items()}
    return zipped(files | {f"OEBPS/{name}": body for name, body in chapters.items()})


def pdf(pages: Iterable[str] = (FOX,), outline: Iterable[tuple[str, int]] = (), title: str = "") -> bytes:
    """Pages of one text each (a line per line), with an outline of titles and page numbers from 1."""
    return pdf_of([_page(text) for text in pages], list(outline), title)


def _page(text: str) -> bytes:
    lines = "".join(f"({line}) Tj T* " for line in text.split("\n"))
    return f"BT /F1 12 Tf 14 TL 72 720 Td {lines}ET".encode("latin-1")


def pdf_of(contents: list[bytes], outline: list[tuple[str, int]] = [], title: str = "") -> bytes:  # noqa: B006
    """Content streams, packed, as pages."""
    first, marks = 5, 5 + 2 * len(contents)  # objects of the pages, of the outline's entries
    kids = " ".join(f"{first + 2 * n} 0 R" for n in range(len(contents)))
    root = f"<< /Type /Catalog /Pages 2 0 R {f'/Outlines {marks} 0 R' if outline else ''} >>"
    objects = [root.encode(), f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>".encode()]
    objects += [b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>", f"<< /Title ({title}) >>".encode()]
    for n, content in enumerate(contents):
        packed = zlib.compress(content, 9)
        resources = "/Resources << /Font << /F1 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R {resources} /Contents {first + 2 * n + 1} 0 R >>".encode())
        head = f"<< /Filter /FlateDecode /Length {len(packed)} >>\nstream\n".encode()
        objects.append(head + packed + b"\nendstream")
    if outline:
        objects.append(f"<< /First {marks + 1} 0 R /Last {marks + len(outline)} 0 R /Count {len(outline)} >>".encode())
        for n, (name, page) in enumerate(outline, marks + 1):
            following = f"/Next {n + 1} 0 R" if n < marks + len(outline) else ""
            target = first + 2 * (page - 1)
            objects.append(f"<< /Title ({name}) /Parent {marks} 0 R {following} /Dest [{target} 0 R /Fit] >>".encode())
    return _numbered(objects)


def _numbered(objects: list[bytes]) -> bytes:
    out, places = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer << /Size %d /Root 1 0 R /Info 4 0 R >>\n" % (len(objects) + 1)
    return out + b"xref\n0 %d\n0000000000 65535 f \n%b%bstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        table,
        trailer,
        len(out),
    )
