"""PDF by pypdf: a section per page, under the entry of the outline that the page belongs to.

Knows the text that is written in the file, in the order it was written; not what is only a picture.
"""

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any

from phireside.errors import DocumentError, DocumentTooLargeError
from phireside.retrieval.loading.loaded import Section
from phireside.retrieval.loading.parsers import Parsed

_HYPHEN = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_A-Z])")  # a word that was divided at the end of a line
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "\xad": ""})


def read(data: bytes) -> Parsed:
    """The title is that of the file's properties.

    Raises:
        DocumentError: it has a password.
    """
    from pypdf import PdfReader  # only the process that reads needs it
    from pypdf.errors import DependencyError, PyPdfError

    reader = PdfReader(io.BytesIO(data))
    try:
        locked = reader.is_encrypted and not reader.decrypt("")
    except DependencyError as error:
        raise DocumentError("It is encrypted.", hint="Reading it needs: pip install 'pypdf[crypto]'") from error
    if locked:
        raise DocumentError("It is protected by a password.", hint="Save it without a password, then add that.")
    title = ""
    with contextlib.suppress(PyPdfError, ValueError, TypeError, AttributeError, KeyError):
        title = str(reader.metadata.title or "") if reader.metadata else ""
    return title, _sections(reader)


def _sections(reader: Any) -> Iterator[Section]:
    from pypdf.errors import LimitReachedError

    headings = _headings(reader)
    heading = ""
    for number, page in enumerate(reader.pages, 1):
        heading = headings.get(number, heading)
        try:
            text = page.extract_text()
        except LimitReachedError as error:
            raise DocumentTooLargeError(f"Its page {number} is larger than a page can be ({error}).") from error
        text = _HYPHEN.sub("", text.translate(_LIGATURES))
        yield Section(text, heading, number)


def _headings(reader: Any) -> dict[int, str]:
    """The entry of the outline that each page begins with; none if the outline is damaged, the text is what counts."""
    found: dict[int, str] = {}

    def walk(entries: list[Any], above: tuple[str, ...]) -> None:
        path = above
        for entry in entries:
            if isinstance(entry, list):
                walk(entry, path)
                continue
            path = (*above, " ".join(str(entry.title).split())[:120])
            page = reader.get_destination_page_number(entry)
            if page is not None and page >= 0:
                found.setdefault(page + 1, " > ".join(path))

    with contextlib.suppress(Exception):
        walk(reader.outline, ())
    return found
