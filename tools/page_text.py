"""The title and the readable text of a web page, worked out in a process of its own.

Parsers of web pages can be made slow (some pages of 2 MB take trafilatura minutes), large, or made to crash. So this
file is run as a program, with a limit of seconds and, where the system has one, of memory: page on standard input,
JSON on standard output. It imports nothing of Phireside, so that it starts in a moment.
"""

import contextlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass

SECONDS = 10.0
MEMORY = 512_000_000  # bytes of address space
# The encodings of the web (encoding.spec.whatwg.org). Python knows others that are slow (punycode) or no encodings.
_CHARSET = re.compile(
    r"utf-?8|utf-16-?(le|be)?|us-ascii|iso-?8859-\d{1,2}|latin-?1|windows-\d{3,4}|cp125\d|koi8-[ru]|macintosh"
    r"|shift[-_]jis|euc-(jp|kr)|iso-2022-jp|gb2312|gbk|gb18030|big5",
    re.IGNORECASE,
)
_META = re.compile(rb"""<meta[^>]{0,200}?charset\s{0,9}=\s{0,9}["']?([\w-]{2,20})""", re.IGNORECASE)
_BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]+")


@dataclass(frozen=True, slots=True)
class PageText:
    """`title` may be empty; `text` is empty if nothing is readable; `length` is that of the whole text, uncut."""

    title: str
    text: str
    length: int


class UnreadableError(Exception):
    """The page took too long, too much memory, or broke its parser."""


def page_text(body: bytes, charset: str = "", longest: int = 20_000, seconds: float = SECONDS) -> PageText:
    """Title and readable text of an HTML page.

    Args:
        body: the page.
        charset: what its sender says its encoding is; may be wrong or empty.
        longest: characters of text that are returned.
        seconds: after which its process is ended.

    Raises:
        UnreadableError: it could not be read within the limits.
    """
    command = [sys.executable, "-P", __file__, charset[:40].replace("\0", ""), str(longest), str(int(seconds) + 1)]
    try:
        done = subprocess.run(command, input=body, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise UnreadableError(f"it takes longer than {seconds:g} s to read") from None
    if done.returncode:
        raise UnreadableError("it is built in a way that cannot be read")
    return PageText(**json.loads(done.stdout))


def decoded(body: bytes, charset: str = "") -> str:
    """Text of a page, by its mark, as UTF-8 if it is that (the sender often says otherwise), or as declared."""
    for mark, name in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, errors="replace")
    meta = _META.search(body[:4096])
    names = [charset, meta[1].decode("ascii", "ignore") if meta else ""]
    if b"\0" not in body and b"\x1b" not in body:  # else UTF-16 or ISO-2022, which can pass for UTF-8
        names.insert(0, "utf-8")
    for name in filter(_CHARSET.fullmatch, names):
        with contextlib.suppress(LookupError, UnicodeDecodeError):
            return body.decode(name)
    return body.decode("cp1252", errors="replace")  # what browsers take if nothing is declared


def tidy(text: str) -> str:
    """Text without control characters, and without more than one empty line in a row."""
    return re.sub(r"\s*\n\s*\n\s*", "\n\n", _CONTROL.sub(" ", text)).strip()


def _limit(seconds: int) -> None:
    """Bound this process's memory and processor time, where the system can (Linux; macOS: time only)."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _extract(html: str) -> tuple[str, str]:
    """Title and text."""
    from trafilatura import extract, load_html  # only the process that reads needs them

    tree = load_html(html)
    if tree is None:
        return "", ""
    title = " ".join((tree.findtext(".//title") or "").split())
    return title, extract(tree, include_comments=False, include_tables=True) or ""


def main() -> None:
    """Read a page as `page_text` asks for it."""
    charset, longest, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _limit(seconds)
    title, text = _extract(decoded(sys.stdin.buffer.read(), charset))
    text = tidy(text)
    found = {"title": tidy(title)[:200], "text": text[:longest], "length": len(text)}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
