"""What the RAG chain gives: an answer with its claims, and how a text with `[n]` in it is read.

Knows nothing of models and searches.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage

from phireside.chains.chain import Growing
from phireside.chains.cost import Cost

Verdict: TypeAlias = Literal["supported", "weak", "none", "unchecked"]

KEPT = "kept"  # of the question of a prompt that began anew: how many messages before it were still in that prompt
PLACED = "passages"  # of a question's `additional_kwargs`: those that its turn put into the prompt
UNKNOWN = "I don't know."
CITATION = re.compile(r"\[([0-9]{1,4})\]")
# As models write citations without a grammar: [1, 2], [1-3], [ 1 ], [^1], \u30101\u3011; and the beginning of one.
_ONE = r"\^?\s*[0-9]{1,9}"
_LOOSE = re.compile(rf"(\s*)[\[\u3010]\s*({_ONE}(?:\s*(?:[,;&\u2013-]|and)\s*{_ONE})*)\s*[\]\u3011]")
_BEGUN = re.compile(r"\s*[\[\u3010][0-9\s^,;&\u2013-]{0,60}$")
_RANGE = 16  # passages that one range may name; of a longer one (years) only its ends count
_SENTENCE = re.compile(
    r"[^\s].*?(?:[.!?][\"')]*(?:\s*\[[0-9]{1,4}\])*(?=\s|$)"
    r"|[\u3002\uff01\uff1f][\u300d\u300f\u201d\u2019)]*(?:\s*\[[0-9]{1,4}\])*"  # Chinese and Japanese leave no blank
    r"|\[[0-9]{1,4}\](?!\s*\[)(?=\s+[A-Z])"
    r"|(?=\s*\n\s*(?:[1-9][.)]|[-*\u2022])\s)|$)",
    re.S,
)
_LISTED = re.compile(r"^(?:[1-9][.)]|[-*\u2022])(?:\s+|$)")  # what stands before an item of a list, and says nothing
_ABBREVIATED = re.compile(r"(?:^|[\s(])(?:[A-Z]|Dr|Mr|Mrs|Ms|St|Prof|vs|etc|e\.g|i\.e|No|ca|approx)\.$")


@dataclass(frozen=True)
class Claim:
    """A sentence of an answer.

    Attributes:
        text: without its citations.
        cited: the numbers of the passages that it names; [n] is `Answer.passages[n - 1]`.
        verdict: whether they say so: "supported", "weak" or "none"; "unchecked" if nobody looked.
        score: what the verdict comes from, 0 to 1; None if nobody looked.
    """

    text: str
    cited: tuple[int, ...] = ()
    verdict: Verdict = "unchecked"
    score: float | None = None


@dataclass(frozen=True)
class Answer(Growing):
    """An answer from documents.

    Attributes:
        text: with `[n]` behind what passage n says; "I don't know." if nothing supports an answer. Sentences whose
            verdict is "none" are not in it once it is whole.
        sentences: all claims that were made, also those that were withdrawn because nothing supports them.
        passages: what the prompt had; [n] is the n-th of them, counted from 1.
        known: False = nothing that was found supports an answer. True = at least one sentence is "supported" or "weak"
            (or "unchecked", and more than a number of a list); that it is true, or answers the question, is not said.
        cost: of all calls: rewriting, searching, answering, checking.
        short: the fewest words of the text that answer the question, as they stand in a passage; see `rag_chain`.
        dropped: numbers that a model without grammars cited though there are no such passages; they were cut out.
        queries: what was searched for.
        base: which of several bases was searched; "none" if none was needed.
        left_out: passages that were found, and had no room.
        turn: question and answer for the `history` of the next question.
        question: as a history has it, with its passages; also while the answer still grows.
    """

    text: str = ""
    sentences: tuple[Claim, ...] = ()
    passages: tuple[Document, ...] = ()
    known: bool = True
    cost: Cost = field(default_factory=Cost)
    short: str = ""
    dropped: tuple[int, ...] = ()
    queries: tuple[str, ...] = ()
    base: str = ""
    left_out: int = 0
    turn: tuple[HumanMessage, AIMessage] | None = None
    question: HumanMessage | None = None


def claims(text: str) -> tuple[Claim, ...]:
    """The sentences of an answer with the passages that each names.

    Of a sentence whose citations stand behind its full stop they are its own: "It is red. [1]". Of an item of a list
    its number ("1. ") is no part.
    """
    return tuple(_claim(each) for each in _pieces(text))


def without_none(text: str, said: Sequence[Claim]) -> str:
    """The text without those of its claims that nothing supports.

    Args:
        text: an answer.
        said: its `claims`, with verdicts.
    """
    if all(claim.verdict != "none" for claim in said):
        return text
    between = "\n" if "\n" in text else " "
    return between.join(piece for piece, claim in zip(_pieces(text), said, strict=True) if claim.verdict != "none")


def _pieces(text: str) -> list[str]:
    found: list[str] = []
    for match in _SENTENCE.finditer(text):
        piece = match[0]
        bare = bool(found) and not CITATION.sub("", piece).strip(" .")  # nothing but a citation: of the one before
        if found and (bare or _ABBREVIATED.search(found[-1]) or _LISTED.fullmatch(found[-1])):
            found[-1] += f" {piece}"
        elif piece.strip():
            found.append(piece)
    return found


def _claim(text: str) -> Claim:
    cited = tuple(dict.fromkeys(int(number) for number in CITATION.findall(text)))
    return Claim(_LISTED.sub("", " ".join(re.sub(r"\s*\[[0-9]{1,4}\]", "", text).split())), cited)


def without_unknown(text: str, known: Collection[int]) -> tuple[str, tuple[int, ...]]:
    """The text without citations of passages that there are not, and their numbers. For models without grammars.

    Lists and ranges become single citations: "[1, 3-4]" is "[1][3][4]". What may be the beginning of a
    citation at the end of a text that still grows is held back.
    """
    dropped: list[int] = []

    def keep(match: re.Match[str]) -> str:
        numbers = _listed(match[2])
        dropped.extend(number for number in numbers if number not in known)
        kept = "".join(f"[{number}]" for number in numbers if number in known)
        return kept and match[1] + kept

    before = ""
    while before != text:  # what is cut out of "[1[9]2]" leaves another one
        before, text = text, _LOOSE.sub(keep, _BEGUN.sub("", text))
    return text, tuple(dict.fromkeys(dropped))


def without_citations(text: str) -> str:
    """The text without any `[n]`: the numbers are those of other passages now."""
    return re.sub(rf"\s*{CITATION.pattern}", "", text)


def _listed(numbers: str) -> list[int]:
    """Those of a list that may have ranges."""
    found = list[int]()
    for first, last in re.findall(r"([0-9]+)(?:\s*[\u2013-]\s*\^?\s*([0-9]+))?", numbers):
        low, high = int(first), int(last or first)
        found += range(low, high + 1) if 0 <= high - low < _RANGE else (low, high)
    return list(dict.fromkeys(found))


def asked(
    question: str, placed: Sequence[Document], answer: str, kept: int | None = None
) -> tuple[HumanMessage, AIMessage]:
    """A turn for a history: the question knows the passages that were put before it, as plain data; see `Placed`."""
    rows = [{"id": each.id, "page_content": each.page_content, "metadata": each.metadata} for each in placed]
    known = {PLACED: rows} if kept is None else {PLACED: rows, KEPT: kept}
    return HumanMessage(question, additional_kwargs=known), AIMessage(answer)
