"""Text that a model or a person wrote, made safe for `st.markdown`. Does not import Streamlit.

Streamlit shows no raw HTML, but an image is fetched as soon as it is drawn, and its address may carry a secret away
(RELIABILITY.md, row 24). A second Markdown parser in Python would not read every text as the browser does, so nothing
here depends on agreeing with it: fenced code is cut out and shown by `st.code`, which parses nothing, and in the
rest no `![` is left, wherever it stands.
"""

import re
from collections.abc import Callable, Container
from typing import NamedTuple

JOINER = "\u2060"  # WORD JOINER: invisible, and between "!" and "[" it makes an image a mere link
_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*)")
_LANGUAGE = re.compile(r"[\w+#-]{1,20}", re.ASCII)
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)[^\n]+?(?<!`)\1(?!`)")
_DOLLAR = re.compile(r"(?<!\\)((?:\\\\)*)\$")
_INNER_FENCE = re.compile(r"([`~]{3,})[ \t]*(?=\S)")
_CITATION = re.compile(r"(?<!\\)\[([0-9]{1,4})\](?![(:])")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


class Segment(NamedTuple):
    """A stretch of a message: Markdown, or code in `language` ("" = not said; None = no code)."""

    text: str
    language: str | None = None


def segments(text: str) -> list[Segment]:
    """Cut a message into Markdown without images and formulas, and fenced code as it was written.

    An unclosed fence, as in an answer that still streams, is code to the end. `$` shows as a dollar sign: "$5 and $6"
    are prices more often than a formula.

    Args:
        text: the message; lone surrogates are replaced.
    """
    found: list[Segment] = []
    lines: list[str] = []
    fence: re.Match[str] | None = None
    for line in text.encode("utf-8", "replace").decode().split("\n"):
        start = _FENCE.fullmatch(line)
        if fence is None and start:
            _add_markdown(found, lines)
            fence, lines = start, []
        elif fence and start and _closes(fence, start):
            found.append(_code(fence, lines))
            fence, lines = None, []
        else:
            lines.append(line)
    if fence:
        found.append(_code(fence, lines))
    else:
        _add_markdown(found, lines)
    return found


def with_citations(markdown: str, numbers: Container[int]) -> str:
    """Show `[n]` as a badge, where n is one of these numbers; not in code spans, nor where it is a link's text."""

    def badge(match: re.Match[str]) -> str:
        return f":orange-badge[{int(match[1])}]" if int(match[1]) in numbers else match[0]

    return _outside_code(markdown, lambda part: _CITATION.sub(badge, part))


def keep_lines(markdown: str) -> str:
    """Turn the line breaks of a paragraph, which Markdown would join, into hard breaks."""
    return re.sub(r"(?<=[^\n])\n(?=[^\n])", "  \n", markdown)


def literal(text: str) -> str:
    """Escape a title, an error or a file name so that Markdown shows it as it is, on one line."""
    return _PUNCTUATION.sub(r"\\\1", " ".join(text.encode("utf-8", "replace").decode().split()))


def _closes(fence: re.Match[str], line: re.Match[str]) -> bool:
    return not line["info"].strip() and line["mark"].startswith(fence["mark"])


def _code(fence: re.Match[str], lines: list[str]) -> Segment:
    indent = len(fence["indent"])
    text = "\n".join(line[min(indent, len(line) - len(line.lstrip())) :] for line in lines)
    language = _LANGUAGE.match(fence["info"])
    return Segment(text, language.group().lower() if language else "")


def _add_markdown(found: list[Segment], lines: list[str]) -> None:
    text = "\n".join(lines).strip("\n")
    if text.strip():
        found.append(Segment(_without_images(_without_formulas(text))))


def _without_images(text: str) -> str:
    """Separate `!` from `[`, and keep a fence that is left (in a quotation) from naming a language, e.g. mermaid."""
    return _INNER_FENCE.sub(rf"\1{JOINER}", text).replace("![", f"!{JOINER}[")


def _without_formulas(text: str) -> str:
    """Escape the dollar signs outside code spans."""
    return _outside_code(text, lambda part: _DOLLAR.sub(r"\1\\$", part))


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """The text, changed but for its code spans."""
    parts, end = [], 0
    for span in _CODE_SPAN.finditer(text):
        parts += [change(text[end : span.start()]), span.group()]
        end = span.end()
    return "".join([*parts, change(text[end:])])
