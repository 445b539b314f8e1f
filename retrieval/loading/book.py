"""EPUB: the chapters in their order. It is a zip with a list of files (OPF, epubcheck's terms: container, spine).

The package `ebooklib` reads these too, but stops at the first picture that is missing, and its licence (AGPL) would
bind whoever builds on Phireside. Knows nothing of notes, pictures or how a book looks.
"""

import io
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from phireside.errors import DocumentError
from phireside.retrieval.loading.loaded import Section
from phireside.retrieval.loading.markup import sections
from phireside.retrieval.loading.parsers import Parsed
from phireside.retrieval.loading.text import decoded

_ENCRYPTION = "META-INF/encryption.xml"
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")  # only fonts are hidden by these


def read(data: bytes) -> Parsed:
    """The title is that of the book's metadata.

    Raises:
        DocumentError: its chapters are encrypted, or it names none.
    """
    archive = zipfile.ZipFile(io.BytesIO(data))
    if _ENCRYPTION in archive.NameToInfo:
        methods = _xml(archive.read(_ENCRYPTION)).iterfind(".//{*}EncryptionMethod")
        if any(method.get("Algorithm", "") not in _FONTS for method in methods):
            raise DocumentError("It is protected by its publisher (DRM).", hint="Use a copy without protection.")
    root = _xml(archive.read("META-INF/container.xml")).find(".//{*}rootfile")
    name = root.get("full-path", "") if root is not None else ""
    if name not in archive.NameToInfo:
        raise DocumentError("It does not say what its chapters are.")
    package = _xml(archive.read(name))
    return package.findtext(".//{*}metadata/{*}title") or "", _chapters(archive, package, posixpath.dirname(name))


def _chapters(archive: zipfile.ZipFile, package: Any, folder: str) -> Iterator[Section]:
    items = {item.get("id"): item for item in package.iterfind("{*}manifest/{*}item")}
    seen = set()
    for reference in package.iterfind("{*}spine/{*}itemref"):
        item = items.get(reference.get("idref"))
        if item is None or "nav" in item.get("properties", "").split():
            continue  # the table of contents
        name = posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
        if name in archive.NameToInfo and name not in seen:
            seen.add(name)
            yield from sections(decoded(archive.read(name)))


def _xml(text: bytes) -> Any:
    from lxml import etree  # type: ignore[import-untyped] # only the process that reads needs it

    return etree.fromstring(text, etree.XMLParser(resolve_entities=False, no_network=True, recover=True))
