"""Load a file, or bytes with a name, as text with headings and pages.

The kind is what the name's suffix says, and the content has to agree. Sizes are checked before anything is parsed, and
while it is: see `LoadLimits`.
"""

from pathlib import Path
from typing import Any

from phireside.errors import DocumentError, DocumentTooLargeError
from phireside.retrieval.loading.loaded import KINDS, LIMITS, Loaded, LoadLimits, Section
from phireside.retrieval.loading.names import label
from phireside.retrieval.loading.process import run

_PARSER = "phireside.retrieval.loading.parsers:parse"
_SPLIT = "Split it into several files, or give larger `LoadLimits`."


def load_file(path: Path, limits: LoadLimits = LIMITS) -> Loaded:
    """Load a document from a file.

    Args:
        path: of a file whose suffix is one of `KINDS`.
        limits: see `LoadLimits`.

    Raises:
        DocumentError: it cannot be read, is of another kind, is protected, or has no text.
        DocumentTooLargeError: it takes more than the limits allow.
    """
    kind_of(path.name)
    try:
        if not path.is_file():  # a pipe or a device could be read for ever
            raise DocumentError(f"{label(path.name)} is no file.", hint="Give the path of a file.")
        with path.open("rb") as file:
            data = file.read(limits.file_bytes + 1)
    except OSError as error:
        raise DocumentError(
            f"{label(path.name)} cannot be read: {error.strerror or type(error).__name__}.",
            hint="See that it is still there and that you may read it.",
        ) from error
    return load_bytes(path.name, data, limits)


def load_bytes(name: str, data: bytes, limits: LoadLimits = LIMITS) -> Loaded:
    """Load a document that was sent, not stored.

    Args:
        name: what its sender calls it; only the suffix is used, and the rest shown where the document has no title.
        data: its bytes.
        limits: see `LoadLimits`.

    Raises:
        DocumentError, DocumentTooLargeError: as `load_file` does.
    """
    shown, kind = label(name), kind_of(name)
    if len(data) > limits.file_bytes:
        raise DocumentTooLargeError(f"{shown} has more than {limits.file_bytes:,} bytes.", hint=_SPLIT)
    zipped = {key: getattr(limits, f"zip_{key}") for key in ("entries", "bytes", "entry_bytes", "ratio")}
    options = {"kind": kind, "tab": name.lower().endswith(".tsv"), "text_chars": limits.text_chars, "zipped": zipped}
    most = 1_000_000 + 8 * limits.text_chars
    try:
        found = run(_PARSER, data, options, seconds=limits.seconds, memory_bytes=limits.memory_bytes, answer_bytes=most)
    except DocumentError as error:
        raise type(error)(f"{shown} cannot be read. {error.message}", hint=error.hint) from error
    return Loaded(found["title"] or shown, kind, tuple(map(_section, found["sections"])))


def _section(row: list[Any]) -> Section:
    text, heading, page = row
    return Section(str(text), str(heading), page if isinstance(page, int) else None)


def kind_of(name: str) -> str:
    """The kind of a document by its name's suffix.

    Raises:
        DocumentError: there is no parser for it.
    """
    suffix = Path(label(name)).suffix.lower()
    if suffix not in KINDS:
        known = ", ".join(sorted(kind.removeprefix(".") for kind in KINDS))
        raise DocumentError(
            f"{label(name)} is of a kind that is not known here ({suffix[:20] or 'no suffix'}).",
            hint=f"These are read: {known}. Save it as one of them.",
        )
    return KINDS[suffix]
