"""Exact match and F1 where the right answers are known, as SQuAD's own script has them.

After Rajpurkar et al. 2016 and 2018 (SQuAD 1.1 and 2.0). A question without an answer is right if nothing was answered.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence


def normalized(text: str) -> str:
    """In small letters, without punctuation, articles and further blanks."""
    plain = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split())


def exact_match(answer: str, known: Sequence[str]) -> float:
    """1 if the answer is one of those known, else 0; none known: 1 if it is empty."""
    return float(normalized(answer) in {normalized(each) for each in known or [""]})


def token_f1(answer: str, known: Sequence[str]) -> float:
    """The best F1 of the answer's words with those of a known answer, 0 to 1; none known: 1 if it is empty."""
    return max(_f1(normalized(answer).split(), normalized(each).split()) for each in known or [""])


def _f1(said: list[str], right: list[str]) -> float:
    if not said or not right:
        return float(said == right)
    common = sum((Counter(said) & Counter(right)).values())
    return 2 * common / (len(said) + len(right))
