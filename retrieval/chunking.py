"""Cut a document into the pieces that are searched: whole sentences or paragraphs, parts under one heading, or windows.

Every way is one pass over atoms (sentences, or words): as many as fit, ended where the way prefers to end. A chunk is
an exact slice of the document's whole text, so that an answer can show where it stands. LangChain's splitters are not
used: they search for their chunks in the text afterwards, and take it that sizes add up. Knows no tokenizer; `count` is
the caller's.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from phireside.errors import SettingsError
from phireside.retrieval.loading.loaded import BETWEEN, Loaded, Section
from phireside.retrieval.sentences import paragraphs, sentences

Count = Callable[[str], int]  # tokens of a text
Span = tuple[int, int]  # characters from and to
_WORD = re.compile(r"\S+")
_JOINER, _JOINED = "\u200d", 16  # zero-width joiner; characters that make up one, at most
_SHORT = 40  # characters of a text whose tokens are remembered: words
_WIDEST = 12  # characters to a token; a tokenizer may call a whole line of base64 one unknown word


@dataclass(frozen=True, slots=True)
class Chunking:
    """How documents are cut.

    Args:
        how: "sentences": as many whole ones as fit; "paragraphs": the same, a chunk ends with a paragraph if it can;
            "headings": as paragraphs, but never across a heading, unless nothing stands under it; "tokens": as many
            words as fit, the plain window.
        size: tokens in a chunk, at most, with its title.
        overlap: tokens, at most, that a chunk repeats of the end of the one before it.
        title: whether title and headings are put before a chunk where it is embedded and searched (`Chunk.searched`).

    Raises:
        SettingsError: numbers that cannot be.
    """

    how: Literal["sentences", "paragraphs", "tokens", "headings"] = "headings"
    size: int = 200
    overlap: int = 32
    title: bool = True

    def __post_init__(self) -> None:
        if self.how not in ("sentences", "paragraphs", "tokens", "headings"):
            raise SettingsError(
                f"There is no chunking {self.how!r}.", hint="Use sentences, paragraphs, tokens or headings."
            )
        if self.size < 1 or not 0 <= self.overlap < self.size:
            raise SettingsError(
                f"Chunks of {self.size} tokens with {self.overlap} of overlap cannot be.",
                hint="Take a size of 1 or more, and an overlap below it.",
            )


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document.

    Args:
        text: `document.text[start:end]`.
        start, end: characters.
        heading: see `Section`; of the section in which it begins, or the next if that is only a heading.
        page: of the section in which it begins.
        before: title and heading, if the chunking wants them; ends with a line break.
    """

    text: str
    start: int
    end: int
    heading: str = ""
    page: int | None = None
    before: str = ""

    @property
    def searched(self) -> str:
        """What is embedded, and searched by words."""
        return self.before + self.text


def chunk(loaded: Loaded, chunking: Chunking, count: Count) -> list[Chunk]:
    """Cut a document.

    Every character but blanks between chunks is in one; sizes hold for any `count`, as long as no single character
    has more tokens than a chunk. The cost grows with the length of the text, however long its lines are.

    Args:
        loaded: the document.
        chunking: how.
        count: tokens of a text; those around it ([CLS], …) may be counted or not.
    """
    whole, text = _Whole(loaded, chunking, count), loaded.text
    groups = [range(len(loaded.sections))] if chunking.how != "headings" else whole.under_one_heading()
    found = []
    for group in groups:
        cutter = _Cutter(text, whole, group, chunking, count)
        for start, end in cutter.cut():
            page = loaded.sections[whole.section_at(start)].page
            section = whole.with_text(start, end)
            heading = loaded.sections[section].heading
            found.append(Chunk(text[start:end], start, end, heading, page, whole.before[section]))
    return found


class _Whole:
    """Where the sections of a document begin in its text, and what goes before the chunks of each."""

    def __init__(self, loaded: Loaded, chunking: Chunking, count: Count) -> None:
        self._sections = loaded.sections
        lengths = (len(section.text) + len(BETWEEN) for section in loaded.sections)
        self.starts = list(accumulate(lengths, initial=0))
        known: dict[str, str] = {}
        for section in loaded.sections:
            if section.heading not in known:
                known[section.heading] = _before(loaded.title, section.heading, chunking, count)
        self.before = [known[section.heading] for section in loaded.sections]
        self._bare = [_is_bare(section) for section in loaded.sections]

    def section_at(self, position: int) -> int:
        return bisect_right(self.starts, position) - 1

    def with_text(self, start: int, end: int) -> int:
        """The section in which a chunk begins; if that is a heading alone, the one that the chunk goes on with."""
        at = self.section_at(start)
        while self._bare[at] and at + 1 < len(self._sections) and self.starts[at + 1] < end:
            at += 1
        return at

    def under_one_heading(self) -> list[range]:
        """A heading alone says nothing that could be searched: it goes with what comes next."""
        headings = [section.heading for section in self._sections]
        borders = [at for at in range(1, len(headings)) if headings[at] != headings[at - 1] and not self._bare[at - 1]]
        return [range(a, b) for a, b in zip([0, *borders], [*borders, len(headings)], strict=True)]

    def span(self, group: range) -> Span:
        return self.starts[group.start], self.starts[group.stop] - len(BETWEEN)


def _is_bare(section: Section) -> bool:
    """Whether a section is nothing but its heading, as in "# Guide" right before "## Installing"."""
    name = section.text.strip("# \t\n")
    return bool(name) and "\n" not in name and section.page is None and section.heading.endswith(name)


def _before(title: str, heading: str, chunking: Chunking, count: Count) -> str:
    """Title and heading in a line each; cut until they take no more than a third of a chunk."""
    lines = (heading,) if heading.startswith(title) else (title, heading)
    before = "".join(f"{line}\n" for line in lines if line) if chunking.title else ""
    while before and count(before) > chunking.size // 3:
        before = f"{before[: len(before) // 2].rstrip()}\n" if len(before) > 2 else ""
    return before


class _Cutter:
    """Cuts one stretch of text."""

    def __init__(self, text: str, whole: _Whole, group: range, chunking: Chunking, count: Count) -> None:
        self._text, self._chunking, self._count = text, chunking, count
        self._around, self._known = count(""), dict[str, int]()
        self._room = chunking.size - self._around
        self._room = max(1, self._room - max(self._tokens(whole.before[at]) for at in group))
        self._atoms: list[Span] = []
        self._ends: list[int] = []  # the atoms with which paragraphs end
        for paragraph in paragraphs(text, *whole.span(group)):
            self._atoms.extend(self._parts(*paragraph))
            self._ends.append(len(self._atoms) - 1)
        sizes = (max(self._tokens(text[a:b]), (b - a) / _WIDEST) for a, b in self._atoms)
        self._sums = list(accumulate(sizes, initial=0.0))

    def cut(self) -> Iterator[Span]:
        """The chunks' positions."""
        first, done = 0, -1  # the atom that a chunk begins with, and the last one of the chunk before
        while done + 1 < len(self._atoms):
            while first <= done and self._size(first, done + 1) > self._room:
                first += 1
            done = self._last(first, done + 1)
            yield self._atoms[first][0], self._atoms[done][1]
            first = self._again(first + 1, done)

    def _last(self, first: int, least: int) -> int:
        """The atom that a chunk ends with: as far as there is room, or the paragraph's end before, if not far back."""
        most = max(least, bisect_right(self._sums, self._sums[first] + self._room) - 2)
        last = most if self._size(first, most) <= self._room else self._longest(first, least, most - 1)
        if self._chunking.how in ("paragraphs", "headings"):
            end = self._ends[max(0, bisect_right(self._ends, last) - 1)]
            if least <= end < last and self._sums[end + 1] - self._sums[first] >= self._room / 2:
                return end
        return last

    def _longest(self, first: int, least: int, most: int) -> int:
        """The last atom that there is room for, where sizes do not simply add up; found by halving."""
        while least < most:
            middle = (least + most + 1) // 2
            if self._size(first, middle) <= self._room:
                least = middle
            else:
                most = middle - 1
        return least

    def _again(self, first: int, done: int) -> int:
        """The first of the atoms at the end of a chunk that the next chunk repeats."""
        overlap = self._chunking.overlap
        if not overlap:
            return done + 1
        first = max(first, bisect_left(self._sums, self._sums[done + 1] - overlap))
        while first <= done and self._size(first, done) > overlap:
            first += 1
        return first

    def _parts(self, begin: int, end: int) -> Iterator[Span]:
        """The atoms of a paragraph: sentences, or words where that is the way or a sentence is too large."""
        units = [(begin, end)] if self._chunking.how == "tokens" else sentences(self._text, begin, end)
        for a, b in units:
            if self._chunking.how != "tokens" and self._tokens(self._text[a:b]) <= self._room:
                yield a, b
            else:
                for word in _WORD.finditer(self._text, a, b):
                    yield from self._halves(*word.span())

    def _halves(self, begin: int, end: int) -> Iterator[Span]:
        """A word, or parts of it that are small enough."""
        waiting = [(begin, end)]
        while waiting:
            a, b = waiting.pop()
            if b - a == 1 or self._tokens(self._text[a:b]) <= self._room:
                yield a, b
            else:
                middle = self._whole_character(a, (a + b) // 2)
                waiting += [(middle, b), (a, middle)]

    def _whole_character(self, begin: int, at: int) -> int:
        """The place itself, or one a little before it, if what a reader sees as one character would be divided."""
        for place in range(at, max(begin, at - _JOINED), -1):
            if not _joins(self._text[place]) and self._text[place - 1] != _JOINER:
                return place
        return at

    def _size(self, first: int, last: int) -> int:
        """Tokens of a run of atoms, as they stand in the text."""
        return self._tokens(self._text[self._atoms[first][0] : self._atoms[last][1]])

    def _tokens(self, text: str) -> int:
        """Tokens of a text, without those around any text. A very long one is too long, whatever its tokens are."""
        widest = len(text) // _WIDEST
        if widest > self._room:
            return widest
        if len(text) > _SHORT:
            return max(widest, self._count(text) - self._around)
        if text not in self._known:
            self._known[text] = max(widest, self._count(text) - self._around)
        return self._known[text]


def _joins(char: str) -> bool:
    """Whether a character belongs to the one before it: accents, variation selectors, joiners, skin tones."""
    return char == _JOINER or unicodedata.category(char) in ("Mn", "Me", "Mc") or "\U0001f3fb" <= char <= "\U0001f3ff"
