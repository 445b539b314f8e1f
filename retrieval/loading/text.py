"""Bytes as text: which encoding they have, and text without what no reader sees."""

import contextlib
import re

# The encodings of the web (encoding.spec.whatwg.org). Python knows others that are slow (punycode) or no encodings.
_CHARSET = re.compile(
    r"utf-?8|utf-16-?(le|be)?|us-ascii|iso-?8859-\d{1,2}|latin-?1|windows-\d{3,4}|cp125\d|koi8-[ru]|macintosh"
    r"|shift[-_]jis|euc-(jp|kr)|iso-2022-jp|gb2312|gbk|gb18030|big5",
    re.IGNORECASE,
)
_META = re.compile(rb"""<meta[^>]{0,200}?charset\s{0,9}=\s{0,9}["']?([\w-]{2,20})""", re.IGNORECASE)
_BOMS = (  # UTF-32's begins like UTF-16's
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")
_SAMPLE = 20_000  # bytes by which an encoding is guessed
_FOREIGN = 0.25  # of them beyond ASCII, from which on the guess is better than cp1252


def marked(body: bytes) -> str | None:
    """Text of bytes that begin with the mark of a Unicode encoding; None if there is no mark."""
    for mark, name in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, errors="replace")
    return None


def decoded(body: bytes, charset: str = "") -> str:
    """Text of a page, by its mark, as UTF-8 if it is that (the sender often says otherwise), or as declared."""
    if (text := marked(body)) is not None:
        return text
    meta = _META.search(body[:4096])
    names = [charset, meta[1].decode("ascii", "ignore") if meta else ""]
    if b"\0" not in body and b"\x1b" not in body:  # else UTF-16 or ISO-2022, which can pass for UTF-8
        names.insert(0, "utf-8")
    for name in filter(_CHARSET.fullmatch, names):
        with contextlib.suppress(LookupError, UnicodeDecodeError):
            return body.decode(name)
    return body.decode("cp1252", errors="replace")  # what browsers take if nothing is declared


def guessed(body: bytes) -> str:
    """Text of a file that declares nothing: by its mark, as UTF-8, or else by how its characters go together.

    The guess is `charset-normalizer`'s, where that is installed, for texts of which a good part is beyond ASCII: Greek,
    Russian, Chinese. Between the encodings of Latin letters it is a toss-up; there Windows' is nearly always right.
    """
    if (text := marked(body)) is not None:
        return text
    with contextlib.suppress(UnicodeDecodeError):
        return body.decode("utf-8")
    sample = body[:_SAMPLE]
    if sum(byte > 127 for byte in sample) > len(sample) * _FOREIGN:
        with contextlib.suppress(ImportError, LookupError, UnicodeDecodeError):
            from charset_normalizer import from_bytes  # needed only here

            if found := from_bytes(sample).best():
                return body.decode(found.encoding, errors="replace")
    return body.decode("cp1252", errors="replace")


def tidy(text: str) -> str:
    """Text without control characters and lone surrogates, blanks at the ends of lines, and piles of empty lines.

    The cost grows with the length only, whatever the text is.
    """
    text = _CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = "\n".join(map(str.rstrip, text.split("\n")))
    return re.sub(r"\n{3,}", "\n\n", text).strip()
