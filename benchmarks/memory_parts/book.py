"""The conversations of the book's chapter 7 with each kind of memory: is what the last question asks for in the prompt?

The book's outcomes are Phi-3's answers. What a memory can do for an answer is to have the fact in what is sent; a small
model may still answer wrongly, or leave the fact out of its summary. So both are shown.
Memories that summarise only what is too long get so little room that three turns are; else they would send them all.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from langchain_core.language_models import BaseChatModel
from memory_parts.strategies import Strategy

from phireside.errors import PhiresideError

ANSWER_TOKENS = 64
NAME, AGE, FIRST = r"Maarten", r"\b33\b", r"\b1 ?\+ ?1\b"


@dataclass(frozen=True)
class Conversation:
    """A conversation of the book.

    Attributes:
        kind: of memory that the book shows it with.
        questions: that are asked in order.
        asked: for the questions that ask for a fact: what is asked, the fact as a pattern, and whether the book's
            memory still had it.
        strategies: of the same kind.
        budget: tokens that a prompt may have; None = as many as the model can read.
    """

    kind: str
    questions: Sequence[str]
    asked: dict[int, tuple[str, str, bool]]
    strategies: Sequence[str]
    budget: int | None = None


SUMMARY = Conversation(
    "summary",
    ("Hi! My name is Maarten. What is 1 + 1?", "What is my name?", "What was the first question I asked?"),
    {1: ("name", NAME, True), 2: ("first question", FIRST, True)},
    ("SummaryMemory", "ConversationSummaryMemory"),
)
LATE = ("SummaryBufferMemory", "ConversationSummaryBufferMemory", "SummarizationMiddleware")
CONVERSATIONS = (
    Conversation(
        "buffer",
        ("Hi! My name is Maarten. What is 1 + 1?", "What is my name?"),
        {1: ("name", NAME, True)},
        ("BufferMemory", "ConversationBufferMemory"),
    ),
    Conversation(
        "window, k=2",
        (
            "Hi! My name is Maarten and I am 33 years old. What is 1 + 1?",
            "What is 3 + 3?",
            "What is my name?",
            "What is my age?",
        ),
        {2: ("name", NAME, True), 3: ("age", AGE, False)},
        ("WindowMemory", "ConversationBufferWindowMemory"),
    ),
    SUMMARY,
    # The largest of 144, 132, 120, … with which all three summarise on the starter.
    replace(SUMMARY, kind="summary, late", strategies=LATE, budget=132),
)


@dataclass(frozen=True)
class Outcome:
    """Of one question for a fact: was it in the prompt, in the book and here; was all that had been asked before in the
    prompt as it was; the answer, and whether it says the fact."""

    kind: str
    strategy: str
    asked: str
    book: bool
    reachable: bool
    whole: bool
    said: bool
    answer: str


def play(conversation: Conversation, name: str, strategy: Strategy, model: BaseChatModel) -> list[Outcome]:
    """One conversation with one memory, with the model's own answers."""
    outcomes = []
    for number, question in enumerate(conversation.questions):
        messages = strategy.prompt(question)
        answer = model.invoke(messages, max_tokens=ANSWER_TOKENS).text.strip()
        if number in conversation.asked:
            asked, pattern, book = conversation.asked[number]
            sent = "\n".join(message.text for message in messages)
            there, said = bool(re.search(pattern, sent)), bool(re.search(pattern, answer))
            whole = {*conversation.questions[:number]} <= {message.text for message in messages}
            outcomes.append(Outcome(conversation.kind, name, asked, book, there, whole, said, answer))
        strategy.finish(question, answer)
    return outcomes


def play_all(open_strategy: Callable[[str, int | None], tuple[Strategy, BaseChatModel]]) -> list[dict[str, object]]:
    """All conversations with all memories of their kind.

    Args:
        open_strategy: gives a new strategy by its name and budget, and the model with nothing in its cache.
    """
    outcomes = []
    for conversation in CONVERSATIONS:
        for name in conversation.strategies:
            strategy, model = open_strategy(name, conversation.budget)
            try:
                outcomes += play(conversation, name, strategy, model)
            except PhiresideError as error:
                print(f"PROBLEM: {conversation.kind} with {name}: {error}")
    return [asdict(outcome) for outcome in outcomes]
