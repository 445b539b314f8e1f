"""Texts that break programs, and what is to come back of them (RELIABILITY row 29)."""

import re

from hypothesis import strategies as st

NASTY = [
    "\ud800",
    "a\udfffb",
    "\udc00\ud800",
    "\ud83d\ude00",  # a pair: one character that came in two halves
    "a\0b\0",
    "\u202eabc\u202c",
    "👩\u200d👩\u200d👧\u200d👦",
    "e\u0301 é ﬁ Å \u212b",
    "\ufeff\uffff\U0010ffff",
    "\r\n\u2028\u2029\x0b\x1b[31m",
    "İıſßẞΣς",
    "שלום مرحبا",
    "x" * 1_000_000,
    "雪" * 333_333,
]
any_text = st.one_of(
    st.text(st.characters()), st.text(st.sampled_from('\0\ud800\udbff\udc00\ude00\ud83da\u0301\u202e ß"*():^-+{}'))
)


def expected(text: str) -> str:
    """What is to come back: pairs of surrogates become their character, others U+FFFD; the rest stays."""
    joined = re.sub("[\ud800-\udbff][\udc00-\udfff]", lambda m: _join(*m.group()), text)
    return re.sub("[\ud800-\udfff]", "\ufffd", joined)


def _join(high: str, low: str) -> str:
    return chr(0x10000 + (ord(high) - 0xD800) * 0x400 + ord(low) - 0xDC00)
