"""Names that others gave to files, as labels: one short line that shows what it is. Never used as a path."""

import re
import unicodedata

_LONGEST = 120  # characters


def label(name: str) -> str:
    """The last part of a file's name or path (of any system), fit to be shown.

    Control characters, marks that turn the direction of writing, other invisible ones and lone surrogates are left out;
    a name that is too long loses its middle, so that its suffix stays. It is still text: a page has to escape it.

    Returns:
        1 to 120 characters; "document" if nothing is left.
    """
    last = re.split(r"[/\\]", name[-4000:])[-1]
    spaced = "".join(" " if char.isspace() else char for char in last)
    seen = "".join(char for char in spaced if unicodedata.category(char)[0] != "C")
    line = " ".join(unicodedata.normalize("NFC", seen).split()).strip(". ")
    if len(line) > _LONGEST:
        line = f"{line[: _LONGEST - 21]}…{line[-20:]}"
    return line or "document"
