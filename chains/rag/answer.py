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

PLACED = "passages"  # of a question's `additional_kwargs`: those that its turn put into the prompt
UNKNOWN = "I don't know."
CITATION = re.compile(r"\[([0-9]{1,4})\]")
_SENTENCE = re.compile(
    r"[^\s].*?(?:[.!?][\"')]*(?:\s*\[[0-9]{1,4}\])*(?=\s|$)|\[[0-9]{1,4}\](?!\s*\[)(?=\s+[A-Z])|$)", re.S
)
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
        text: with `[n]` behind what passage n says; "I don't know." if nothing supports an answer.
        sentences: its claims; of an answer that was withdrawn because nothing supports it, too.
        passages: what the prompt had; [n] is the n-th of them, counted from 1.
        known: False = nothing that was found supports an answer.
        cost: of all calls: rewriting, searching, answering, checking.
        short: the fewest words of the text that answer the question, as they stand in a passage; see `rag_chain`.
        dropped: numbers that a model without grammars cited though there are no such passages; they were cut out.
        queries: what was searched for.
        base: which of several bases was searched; "none" if none was needed.
        left_out: passages that were found, and had no room.
        turn: question and answer for the `history` of the next question.
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


def claims(text: str) -> tuple[Claim, ...]:
    """The sentences of an answer with the passages that each names.

    Of a sentence whose citations stand behind its full stop they are its own: "It is red. [1]".
    """
    found: list[str] = []
    for match in _SENTENCE.finditer(text):
        piece = match[0]
        bare = bool(found) and not CITATION.sub("", piece).strip(" .")  # nothing but a citation: of the one before
        if found and (bare or _ABBREVIATED.search(found[-1])):
            found[-1] += f" {piece}"
        elif piece.strip():
            found.append(piece)
    return tuple(_claim(each) for each in found)


def _claim(text: str) -> Claim:
    cited = tuple(dict.fromkeys(int(number) for number in CITATION.findall(text)))
    return Claim(" ".join(re.sub(r"\s*\[[0-9]{1,4}\]", "", text).split()), cited)


def without_unknown(text: str, known: Collection[int]) -> tuple[str, tuple[int, ...]]:
    """The text without citations of passages that there are not, and their numbers. For models without grammars.

    What may be the beginning of a citation at the end of a text that still grows is held back.
    """
    dropped: list[int] = []

    def keep(match: re.Match[str]) -> str:
        if int(match[2]) in known:
            return match[0]
        dropped.append(int(match[2]))
        return ""

    text = re.sub(r"\s*\[[0-9]{0,4}$", "", text)
    return re.sub(r"(\s*)\[([0-9]{1,9})\]", keep, text), tuple(dict.fromkeys(dropped))


def asked(question: str, placed: Sequence[Document], answer: str) -> tuple[HumanMessage, AIMessage]:
    """A turn for a history: the question knows the passages that were put before it, as plain data."""
    rows = [{"id": each.id, "page_content": each.page_content, "metadata": each.metadata} for each in placed]
    return HumanMessage(question, additional_kwargs={PLACED: rows}), AIMessage(answer)
