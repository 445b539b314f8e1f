"""Paragraphs and sentences of a text in most languages, by its marks; no model, one pass.

The rules are those of Unicode's sentence boundaries (UAX 29) with what that leaves to the language: abbreviations,
initials and ordinal numbers of the larger European languages. When in doubt two sentences stay together. Knows nothing
of sizes; languages that mark no sentences (Thai, Lao) come as one.
"""

# ruff: noqa: RUF001, SIM905 (marks and letters of many languages look alike)

import re
from collections.abc import Iterator

Span = tuple[int, int]  # characters from and to; text[from:to] has no blanks at its ends

_GAP = re.compile(r"\n\s*\n")
_STOP = re.compile(
    r"""(?P<spaced>[.!?…‽؟۔։။៕]+)["'”’»)\]›*_]*(?:[ \u00a0\u202f]»)?"""  # what ends a sentence if a blank follows
    r"""|(?P<bare>[。！？｡।॥]+)[」』”’）)】〉》]*"""  # and what ends one always
    r"""|\n(?=[ \t]{0,12}(?:[-*•·–|>#+]|[0-9]{1,3}[.)])[ \t])"""  # a line of a list or table begins
)
_BLANKS = re.compile(r"\s+")
_BEFORE = re.compile(r"[^\s(\[{\"'“„«‘‚/—–-]*$")
_LOOK_BACK = 20  # characters
_ABBREVIATIONS = frozenset(  # none that is a common word as well
    # English
    """mr mrs ms dr prof rev hon st jr sr gen col capt lt sgt gov sen rep vs e.g i.e viz cf fig figs eq eqs sec ch vol
    nos pp p ed eds approx est dept inc ltd corp bros mt jan feb apr aug sept oct nov dec u.s u.k u.n
    """
    # German
    """z.b d.h u.a o.ä u.ä s.o s.u i.d.r i.a z.t v.a bzw ca vgl nr abs abb tab bd bde hrsg hl dipl ing mio mrd evtl ggf
    inkl exkl sog frl hr fr jh kap
    """
    # French, Spanish, Italian, Portuguese, Dutch
    """m mm mme mlle mgr chap av env p.ex sra srta dra ud uds p.ej núm pág tel avda sig dott avv pag n.b d.c a.c ecc
    exa bijv d.w.z o.a mevr dhr blz
    """
    # Russian
    "г гг в вв т.е т.к т.н им ул стр рис см напр др проф акад".split()
)


def paragraphs(text: str, begin: int, end: int) -> Iterator[Span]:
    """The stretches of text[begin:end] between empty lines."""
    at = begin
    for gap in _GAP.finditer(text, begin, end):
        yield from trimmed(text, at, gap.start())
        at = gap.end()
    yield from trimmed(text, at, end)


def sentences(text: str, begin: int, end: int) -> Iterator[Span]:
    """The sentences of a paragraph; a line of a list or table is one as well."""
    at = begin
    for stop in _STOP.finditer(text, begin, end):
        if stop["bare"] or text[stop.start()] == "\n" or _ends(text, stop.start(), stop["spaced"], stop.end(), end):
            yield from trimmed(text, at, stop.end())
            at = stop.end()
    yield from trimmed(text, at, end)


def trimmed(text: str, begin: int, end: int) -> Iterator[Span]:
    """A stretch of text without blanks at its ends; nothing, if there are only blanks."""
    stretch = text[begin:end]
    left = len(stretch) - len(stretch.lstrip())
    if left < len(stretch):
        yield begin + left, begin + len(stretch.rstrip())


def _ends(text: str, mark: int, marks: str, after: int, end: int) -> bool:
    """Whether a sentence ends with the marks at `mark`."""
    blanks = _BLANKS.match(text, after, end)
    if not blanks:
        return False
    if blanks.end() < end and text[blanks.end()].islower():
        return False
    if marks != ".":
        return True
    found = _BEFORE.search(text[max(0, mark - _LOOK_BACK) : mark])
    word = found[0] if found else ""
    initial = len(word) == 1 and word.isupper() and word != "I"
    ordinal = word.isdecimal() and len(word) <= 2 and text[blanks.end() : blanks.end() + 1].isalpha()
    return not (initial or ordinal or word.lower() in _ABBREVIATIONS)
