"""What a document is once it is loaded, and what loading one may cost."""

from dataclasses import dataclass
from types import MappingProxyType

BETWEEN = "\n\n"  # two sections, in a document's whole text
KINDS = MappingProxyType(  # the kind that each suffix stands for
    {
        ".txt": "txt",
        ".text": "txt",
        ".md": "md",
        ".markdown": "md",
        ".html": "html",
        ".htm": "html",
        ".xhtml": "html",
        ".csv": "csv",
        ".tsv": "csv",
        ".pdf": "pdf",
        ".docx": "docx",
        ".epub": "epub",
    }
)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document.

    Args:
        text: never empty; its own heading is its first line.
        heading: the headings above it and its own, as "Guide > Installing"; empty where there are none.
        page: of a PDF, counted from 1.
    """

    text: str
    heading: str = ""
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A document.

    Args:
        title: what it says itself, else its file's name.
        kind: one of `KINDS`' values.
        sections: one or more.
    """

    title: str
    kind: str
    sections: tuple[Section, ...]

    @property
    def text(self) -> str:
        """The whole text, in which chunks have their positions."""
        return BETWEEN.join(section.text for section in self.sections)


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """What loading one document may cost.

    Args:
        seconds: of the clock, start of the reader's process included; the same number bounds its processor time.
        memory_bytes: of address space of the reader's process (Linux).
        file_bytes: of the file.
        text_chars: characters of text in it.
        zip_entries, zip_bytes, zip_entry_bytes, zip_ratio: of a docx or epub: files in it, bytes of all and of one of
            them when unpacked, and times that the whole, or one above 1 MB, may grow by that.
    """

    seconds: float = 60.0
    memory_bytes: int = 512_000_000
    file_bytes: int = 50_000_000
    text_chars: int = 10_000_000
    zip_entries: int = 2000
    zip_bytes: int = 200_000_000
    zip_entry_bytes: int = 50_000_000
    zip_ratio: int = 200


LIMITS = LoadLimits()
