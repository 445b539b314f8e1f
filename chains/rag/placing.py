"""Passages in a prompt: numbered, within the exact budget, and placed so that a follow-up keeps all that was read.

A passage keeps its number and its place for the whole conversation. What a later question finds besides stands before
that question. So prompts only grow at their end, as long as they fit; a conversation that does not fit any more begins
anew, with the newest turns and the passages of the last question, and grows from there. Knows nothing of searching.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from phireside.chains.long_text import Window
from phireside.chains.prompt_files import PromptFile
from phireside.chains.rag.answer import KEPT, PLACED, without_citations
from phireside.errors import ContextOverflowError, RequestError
from phireside.retrieval.retriever import passage_key as key

Fits = Callable[[Sequence[BaseMessage]], bool]

_NUMBERED = re.compile(r"\[([0-9]+)\]")
_LONGEST = 120  # characters of a title and of a heading


@dataclass(frozen=True)
class Placed:
    """A prompt with passages.

    Attributes:
        messages: the prompt.
        passages: all in it; [n] is the n-th.
        citable: numbers of those that were found for this question.
        new: those that this question put into the prompt.
        left_out: how many had no room.
        kept: of a prompt that began anew, how many messages of the conversation are still in it; else None.
    """

    messages: list[BaseMessage]
    passages: tuple[Document, ...]
    citable: tuple[int, ...]
    new: tuple[Document, ...]
    left_out: int = 0
    kept: int | None = None


@dataclass(frozen=True)
class Layout:
    """How prompts are laid out.

    Args:
        file: prompts: the one named in `system`, ask, again, and the examples that stand in front.
        system: the name of the rules' prompt.
        examples: whether the examples stand in front of the conversation.
    """

    file: PromptFile
    system: str
    examples: bool = False

    def opening(self, history: Sequence[BaseMessage] = ()) -> list[BaseMessage]:
        """What every prompt begins with: the rules, and behind them those of the history."""
        own = [each.text for each in history if isinstance(each, SystemMessage) and each.text]
        rules = SystemMessage("\n\n".join([self.file.messages(self.system)[0].text, *own]))
        return [rules, *(self.file.messages("examples") if self.examples else [])]

    def question(self, question: str, new: Sequence[Document], first: int) -> HumanMessage:
        """A question behind its new passages, whose numbers begin at `first`."""
        if not new:
            return HumanMessage(self.file.messages("again", question=question)[-1].text)
        shown = numbered(new, first)
        return HumanMessage(self.file.messages("ask", passages=shown, question=question)[-1].text)

    def unsearched(self, question: str, history: Sequence[BaseMessage], window: Window) -> list[BaseMessage]:
        """The prompt for a question that needs no passages."""
        asked = self.file.messages("plain", question=question)
        whole = [*history, *asked]
        system = [each for each in history if isinstance(each, SystemMessage)]
        return whole if window.fits(whole) else _with_newest(system, history, asked, window.fits)

    def place(self, question: str, history: Sequence[BaseMessage], found: Sequence[Document], window: Window) -> Placed:
        """The prompt for a question: grown from the last one if that fits, else anew.

        Raises:
            ContextOverflowError: not even the best passage fits beside question and answer.
        """
        grown = self._grown(question, history, found)
        return grown if window.fits(grown.messages) else self._anew(question, history, found, window.fits)

    def _grown(self, question: str, history: Sequence[BaseMessage], found: Sequence[Document]) -> Placed:
        before, turns = _since_begun(_turns(history))
        messages, passages = [*self.opening(history), *before], list[Document]()
        for message in turns:
            if isinstance(message, HumanMessage):
                placed = placed_at(message)
                messages.append(self.question(message.text, placed, len(passages) + 1))
                passages += placed
            else:
                messages.append(AIMessage(message.text))
        numbers = {key(each): number for number, each in enumerate(passages, 1)}
        new = [each for each in found if key(each) not in numbers]
        asked = self.question(question, new, len(passages) + 1)
        numbers |= {key(each): number for number, each in enumerate(new, len(passages) + 1)}
        citable = tuple(sorted(numbers[key(each)] for each in found))
        return Placed([*messages, asked], (*passages, *new), citable, tuple(new))

    def _anew(
        self,
        question: str,
        history: Sequence[BaseMessage],
        found: Sequence[Document],
        fits: Fits,
    ) -> Placed:
        """The best passages that fit, then the newest turns that fit beside them."""
        opening = self.opening(history)

        def asked(count: int) -> list[BaseMessage]:
            return [*opening, self.question(question, found[:count], 1)]

        count = next((count for count in range(len(found), 0, -1) if fits(asked(count))), 0)
        if not count:
            raise ContextOverflowError(
                f"Of {len(found)} passages not even the best, of {len(found[0].page_content):,} characters, fits "
                "beside question and answer.",
                hint="Cut documents into smaller chunks, lower max_tokens, or load the model with a larger n_ctx.",
            )
        messages = _with_newest(opening, history, asked(count)[-1:], fits)
        new, kept = tuple(found[:count]), len(messages) - len(opening) - 1
        return Placed(messages, new, tuple(range(1, count + 1)), new, len(found) - count, kept)


def _with_newest(
    opening: Sequence[BaseMessage], history: Sequence[BaseMessage], asked: Sequence[BaseMessage], fits: Fits
) -> list[BaseMessage]:
    """A prompt with the newest turns of a history that fit into it, perhaps none."""
    turns = _plain(_turns(history))
    starts = [at for at, each in enumerate(turns) if isinstance(each, HumanMessage)]
    prompts = ([*opening, *turns[at:], *asked] for at in starts)
    return next((prompt for prompt in prompts if fits(prompt)), [*opening, *asked])


def _turns(history: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Questions and answers; not what tools were asked, and said."""
    return [each for each in history if isinstance(each, HumanMessage) or (isinstance(each, AIMessage) and each.text)]


def _plain(turns: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Without passages and their numbers, which now are those of others."""
    return [
        AIMessage(without_citations(each.text)) if isinstance(each, AIMessage) else HumanMessage(each.text)
        for each in turns
    ]


def _begun(turns: Sequence[BaseMessage]) -> tuple[int, int]:
    """Where the last prompt that began anew had its question, and where it began; the latter may be below 0."""
    at = next((at for at in reversed(range(len(turns))) if KEPT in turns[at].additional_kwargs), 0)
    kept = turns[at].additional_kwargs.get(KEPT) if turns else 0
    return at, at - kept if isinstance(kept, int) else at


def _since_begun(turns: list[BaseMessage]) -> tuple[list[BaseMessage], list[BaseMessage]]:
    """What the last prompt that began anew had kept, as it stood there; and the turns from its question on."""
    at, start = _begun(turns)
    return _plain(turns[max(0, start) : at]), turns[at:]


def left_behind(history: Sequence[BaseMessage]) -> int:
    """How many messages are not in the prompt that these lead to, because it began anew behind them."""
    return max(0, _begun(_turns(history))[1])


def begun_anew(history: Sequence[BaseMessage]) -> tuple[list[BaseMessage], int | None]:
    """A history of which a memory has left out the beginning, so that passages may be missing whose numbers it has.

    Returns:
        The history without passages and numbers, and how many questions and answers it has: the next question's `KEPT`.
        The same history and None if all is there since a prompt last began anew.
    """
    turns = _turns(history)
    if any(KEPT in each.additional_kwargs for each in turns) and _begun(turns)[1] >= 0:
        return list(history), None
    return [*(each for each in history if isinstance(each, SystemMessage)), *_plain(turns)], len(turns)


def numbered(passages: Sequence[Document], first: int = 1) -> str:
    """Passages as a prompt shows them. `[3]` within one becomes `(3)`: only ours are numbers of passages."""
    texts = (_NUMBERED.sub(r"(\1)", shown(each)) for each in passages)
    return "\n\n".join(f"[{number}] {text}" for number, text in enumerate(texts, first))


def shown(passage: Document) -> str:
    """What the model reads of a passage: its title and heading in a line, and its text."""
    above = [" ".join(str(passage.metadata.get(name) or "").split())[:_LONGEST] for name in ("title", "heading")]
    return "\n".join(filter(None, [": ".join(filter(None, above)), passage.page_content.strip()]))


def placed_at(message: BaseMessage) -> list[Document]:
    """The passages that a question of a history put into the prompt.

    Raises:
        RequestError: they are not what `Answer.turn` wrote.
    """
    rows = message.additional_kwargs.get(PLACED, [])
    try:
        return [
            Document(row["page_content"], id=row.get("id"), metadata=dict(row.get("metadata") or {})) for row in rows
        ]
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise RequestError(
            f"A question of the history has passages that cannot be read ({type(error).__name__}).",
            hint="Append what Answer.turn holds to the history, or plain messages.",
        ) from error
