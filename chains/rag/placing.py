"""Passages in a prompt: numbered, within the exact budget, and placed so that a follow-up keeps all that was read.

A passage keeps its number and its place for the whole conversation. What a later question finds besides stands before
that question. So prompts only grow at their end, as long as they fit; a conversation that does not fit any more begins
anew, with the newest turns and the passages of the last question. Knows nothing of searching.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from phireside.chains.long_text import Window
from phireside.chains.prompt_files import PromptFile
from phireside.chains.rag.answer import PLACED
from phireside.errors import ContextOverflowError, RequestError

_NUMBERED = re.compile(r"\[([0-9]+)\]")


@dataclass(frozen=True)
class Placed:
    """A prompt with passages.

    Attributes:
        messages: the prompt.
        passages: all in it; [n] is the n-th.
        citable: numbers of those that were found for this question.
        new: those that this question put into the prompt.
        left_out: how many had no room.
    """

    messages: list[BaseMessage]
    passages: tuple[Document, ...]
    citable: tuple[int, ...]
    new: tuple[Document, ...]
    left_out: int = 0


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

    def opening(self) -> list[BaseMessage]:
        """What every prompt begins with."""
        rules = SystemMessage(self.file.messages(self.system)[0].text)
        return [rules, *(self.file.messages("examples") if self.examples else [])]

    def question(self, question: str, new: Sequence[Document], first: int) -> HumanMessage:
        """A question behind its new passages, whose numbers begin at `first`."""
        if not new:
            return HumanMessage(self.file.messages("again", question=question)[-1].text)
        shown = numbered(new, first)
        return HumanMessage(self.file.messages("ask", passages=shown, question=question)[-1].text)

    def place(self, question: str, history: Sequence[BaseMessage], found: Sequence[Document], window: Window) -> Placed:
        """The prompt for a question: grown from the last one if that fits, else anew.

        Raises:
            ContextOverflowError: not even the best passage fits beside question and answer.
        """
        grown = self._grown(question, history, found)
        return grown if window.fits(grown.messages) else self._anew(question, history, found, window.fits)

    def _grown(self, question: str, history: Sequence[BaseMessage], found: Sequence[Document]) -> Placed:
        messages, passages = self.opening(), list[Document]()
        for message in history:
            if isinstance(message, HumanMessage):
                placed = placed_at(message)
                messages.append(self.question(message.text, placed, len(passages) + 1))
                passages += placed
            elif isinstance(message, AIMessage) and message.text:
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
        fits: Callable[[Sequence[BaseMessage]], bool],
    ) -> Placed:
        """The best passages that fit, then the newest turns that fit beside them."""
        opening = self.opening()

        def asked(count: int) -> list[BaseMessage]:
            return [*opening, self.question(question, found[:count], 1)]

        count = next((count for count in range(len(found), 0, -1) if fits(asked(count))), 0)
        if not count:
            raise ContextOverflowError(
                f"Of {len(found)} passages not even the best, of {len(found[0].page_content):,} characters, fits "
                "beside question and answer.",
                hint="Cut documents into smaller chunks, lower max_tokens, or load the model with a larger n_ctx.",
            )
        turns = [AIMessage(each.text) if isinstance(each, AIMessage) else HumanMessage(each.text) for each in history]
        starts = [at for at, each in enumerate(turns) if isinstance(each, HumanMessage)]
        prompts = ([*opening, *turns[at:], asked(count)[-1]] for at in starts)
        messages = next((prompt for prompt in prompts if fits(prompt)), asked(count))
        kept = tuple(found[:count])
        return Placed(messages, kept, tuple(range(1, count + 1)), kept, len(found) - count)


def numbered(passages: Sequence[Document], first: int = 1) -> str:
    """Passages as a prompt shows them. `[3]` within one becomes `(3)`: only ours are numbers of passages."""
    texts = (_NUMBERED.sub(r"(\1)", each.page_content).strip() for each in passages)
    return "\n\n".join(f"[{number}] {text}" for number, text in enumerate(texts, first))


def key(passage: Document) -> str:
    """What makes two passages the same."""
    return passage.id or passage.page_content


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
