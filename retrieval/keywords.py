"""A question as a query of SQLite's FTS5: which of its words are asked for, and what a find in title or heading counts.

Chosen on Cranfield (nDCG@10): `python benchmarks/retrieval.py --part cranfield`. Knows no tables.
"""

import re
import unicodedata

BM25 = "bm25(words, 3.0, 1.0)"  # a word in title or heading, and one in the text
_MOST = 1000  # words that FTS5 is asked for
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about an and are as at be by can do does for from has have how if in into is it its not of on or such
        that the their then there these they this to was were what when where which who will with would""",
    )
)


def match(query: str) -> str:
    """An expression for MATCH: any of the words will do; English function words only if there are no others.

    Args:
        query: any text; nothing in it is an operator. A word that is repeated counts as often.

    Returns:
        The expression; empty if there is no word.
    """
    words = re.findall(r"\w+", unicodedata.normalize("NFC", query).lower())
    telling = [word for word in words if word not in _FUNCTION_WORDS] or words
    return " OR ".join(f'"{word}"' for word in telling[:_MOST])
