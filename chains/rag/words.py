"""The few words of passages that answer a question: chosen by scores, or found in a sentence.

Asked for the words alone, a small model copies the beginning of a passage. So what it would write is not asked: phrases
of the passages are scored, each as the answer to the question and as one to no question in particular. Knows English
function words and no grammar; for other languages phrases are cut at punctuation only, and in scripts without blanks
pairs of characters are compared instead of words.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ENGLISH = (
    "a an the of in on at to from by for with and or but as is was were are be been being had has have it its they "
    "their them he his she her this that these those which who whom whose what when where why how also not no than "
    "then there such into during between about after before over under would could did do does one some many most more "
    "other only own same so very can will may both all any each i you we my your our"
)
_FUNCTION = frozenset(_ENGLISH.split())
_INNER = frozenset({"of", "the", "and", "in", "de", "or", "a", "to"})
_WORD = re.compile(r"[\w$€£%](?:[\w'\u2019.,\u2013-]*\w)?%?")
_BREAK = re.compile(r'[;:()\[\]"\u201c\u201d!?]|[.]\s')
_PAUSE = re.compile(_BREAK.pattern + "|,")
SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|(?<=[\u3002\uff01\uff1f\uff1b])")
# Thai, Lao, Burmese, Khmer, kana and Han: written without blanks
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
_LONGEST, MOST = 6, 64  # words of a phrase; phrases that are scored


@dataclass(frozen=True)
class Phrase:
    """Words of a passage.

    Attributes:
        text: as it stands there.
        passage: its number.
        overlap: the share of the question's words that its sentence has, 0 to 1.
    """

    text: str
    passage: int
    overlap: float


def phrases(question: str, passages: Mapping[int, str], most: int = MOST) -> list[Phrase]:
    """What could answer a question, from the sentences that share most words with it; each text once.

    Args:
        question: its words alone are no answer.
        passages: texts by number, the best first.
        most: how many.
    """
    asked, found = content(question), dict[str, Phrase]()
    for number, text in passages.items():
        for sentence in SENTENCE_END.split(text):
            share = len(asked & content(sentence)) / max(1, len(asked))
            for phrase in _phrases(sentence, asked):
                if phrase not in found or found[phrase].overlap < share:
                    found[phrase] = Phrase(phrase, number, share)
    return sorted(found.values(), key=lambda phrase: -phrase.overlap)[:most]


def _phrases(sentence: str, asked: frozenset[str]) -> list[str]:
    words = list(_WORD.finditer(sentence))
    found = []
    for at, first in enumerate(words):
        if first[0].lower() in _FUNCTION:
            continue
        for last in words[at : at + _LONGEST]:
            text = sentence[first.start() : last.end()]
            inner = {each.lower() for each in _WORD.findall(text) if each.lower() in _FUNCTION}
            if _BREAK.search(text) or inner - _INNER:
                break
            if last[0].lower() not in _FUNCTION and content(text) - asked:
                found.append(text)
    return found


def best(phrases: Sequence[Phrase], asked: NDArray[np.float64], unasked: NDArray[np.float64]) -> Phrase:
    """The phrase that the question makes probable.

    Args:
        phrases: at least one.
        asked, unasked: log-probabilities of each as the answer, and as one to no question in particular.
    """
    overlap = np.array([phrase.overlap for phrase in phrases])
    return phrases[int(np.argmax(asked - PRIOR * unasked + OVERLAP * overlap))]


PRIOR, OVERLAP = 0.5, 8.0  # benchmarks/rag.py --part words measures others


def content(text: str) -> frozenset[str]:
    """The stems of a text's words that say something; of scripts without blanks, pairs of neighbouring characters."""
    words = _WORD.findall(_UNSPACED.sub(" ", text.lower()))
    pairs = {run[at : at + 2] for run in _UNSPACED.findall(text) for at in range(max(1, len(run) - 1))}
    return frozenset(stem(word) for word in words if word not in _FUNCTION) | pairs


def stem(word: str) -> str:
    """A word without its commonest English endings."""
    return re.sub(r"('s|\u2019s|ing|ed|es|s|ly)$", "", word.lower()) or word.lower()


def short_answer(text: str, question: str, passages: Sequence[str]) -> str:
    """The first words of an answer in a sentence that the question did not have, as they stand in a passage.

    "Normandy is located in France." to "Where is Normandy located?" is "France". Empty if there are none.
    """
    asked, sources = content(question), [passage.lower() for passage in passages]
    runs: list[list[re.Match[str]]] = [[]]
    for word in _WORD.finditer(text):
        new = stem(word[0]) not in asked and (word[0].lower() not in _FUNCTION or bool(runs[-1]))
        if runs[-1] and _PAUSE.search(text[runs[-1][-1].end() : word.start() + 1]):
            runs.append([])
        if new and (word[0].lower() not in _FUNCTION or word[0].lower() in _INNER):
            runs[-1].append(word)
        elif runs[-1]:
            runs.append([])
    for run in runs:
        while run and run[-1][0].lower() in _FUNCTION:
            run.pop()
        said = text[run[0].start() : run[-1].end()] if run else ""
        if said and any(said.lower() in source for source in sources):
            return said
    return ""
