"""Is a file what its name says, and does what is packed in it stay within limits? Looked at before it is parsed."""

import io
import zipfile

from phireside.errors import DocumentError, DocumentTooLargeError

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # Office before 2007; and its wrapper around what has a password
_SIGNATURES = {
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "a zip archive or Office document",
    _OLE: "an Office document of before 2007, or one with a password",
    b"MZ": "a Windows program",
    b"\x7fELF": "a program",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"{\\rtf": "an RTF document",
    b"SQLite format 3": "a database",
}
_UTF = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")  # of text that may hold NUL bytes
_MAIN = {"docx": "[Content_Types].xml", "epub": "META-INF/container.xml"}  # a file that each has
_SMALL = 1_000_000  # bytes; how much one file grew is no matter below
_ENTITY = b"<!ENTITY"
_AS_NAMED = "Give the file the suffix of what it is, or open it and save it anew."
_PROTECTED = "Save it without a password, then add that."


def check(data: bytes, kind: str, zipped: dict[str, int]) -> None:
    """Whether a file can be what its kind is.

    Args:
        data: the file.
        kind: one of `KINDS`' values.
        zipped: the limits "entries", "bytes", "entry_bytes" and "ratio" for archives, see `LoadLimits`.

    Raises:
        DocumentError: it is something else, or protected by a password.
        DocumentTooLargeError: what is packed in it is too much.
    """
    if not data.strip(b"\0 \t\r\n\xef\xbb\xbf"):
        raise DocumentError("It is empty.", hint="See whether it was saved or sent completely.")
    if kind == "pdf":
        if b"%PDF-" not in data[:1024]:
            raise _other(data, "a PDF")
    elif kind in _MAIN:
        _check_archive(data, kind, zipped)
    elif not data.startswith(_UTF) and (b"\0" in data or _seen(data)):
        raise _other(data, "text")


def _seen(data: bytes, shortest: int = 3) -> str:
    """What a file is by its first bytes, if they are that many; two could begin a text too."""
    return next((what for sign, what in _SIGNATURES.items() if data.startswith(sign) and len(sign) >= shortest), "")


def _other(data: bytes, expected: str) -> DocumentError:
    if seen := _seen(data, 2):
        return DocumentError(f"It looks like {seen}, where its name says {expected}.", hint=_AS_NAMED)
    return DocumentError(f"It is not {expected}, as its name says.", hint=_AS_NAMED)


def _check_archive(data: bytes, kind: str, limits: dict[str, int]) -> None:
    if data.startswith(_OLE) and "EncryptedPackage".encode("utf-16-le") in data:
        raise DocumentError("It is protected by a password.", hint=_PROTECTED)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError) as error:
        if data.startswith(b"PK"):
            raise DocumentError(f"It is damaged ({error}).", hint="See whether it was sent completely.") from error
        raise _other(data, f"{'an' if kind == 'epub' else 'a'} {kind}") from error
    entries = archive.infolist()
    _check_sizes(entries, len(data), limits)
    if _MAIN[kind] not in archive.NameToInfo:
        raise DocumentError(f"It is a zip archive, but no {kind}.", hint=_AS_NAMED)
    if any(entry.flag_bits & 1 for entry in entries):
        raise DocumentError("It is protected by a password.", hint=_PROTECTED)
    for entry in entries:
        if entry.filename.lower().endswith((".xml", ".rels", ".opf", ".ncx")) and _declares(archive, entry):
            raise DocumentError("It declares XML entities, which no such document needs.", hint=_AS_NAMED)


def _check_sizes(entries: list[zipfile.ZipInfo], packed: int, limits: dict[str, int]) -> None:
    """By what the archive says of itself; what unpacks to more than it says, Python's zipfile refuses."""
    if len(entries) > limits["entries"]:
        raise _bomb(f"{len(entries):,} files are packed in it", f"{limits['entries']:,}")
    total, largest = sum(entry.file_size for entry in entries), max((e.file_size for e in entries), default=0)
    if largest > limits["entry_bytes"]:
        raise _bomb(f"One of its files unpacks to {largest:,} bytes", f"{limits['entry_bytes']:,}")
    if total > limits["bytes"]:
        raise _bomb(f"It unpacks to {total:,} bytes", f"{limits['bytes']:,}")
    growing = [entry.file_size / max(1, entry.compress_size) for entry in entries if entry.file_size > _SMALL]
    if (grows := max([total / packed, *growing])) > limits["ratio"]:
        raise _bomb(f"It grows {grows:,.0f} times when it is unpacked", f"{limits['ratio']}")


def _bomb(what: str, most: str) -> DocumentTooLargeError:
    return DocumentTooLargeError(f"{what}; at most {most} are read.", hint="Save it without what makes it so large.")


def _declares(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    """Whether an XML file declares entities, in any encoding that XML is written in."""
    text = archive.read(entry)
    return _ENTITY in text or _ENTITY in text[:4096].replace(b"\0", b"")
