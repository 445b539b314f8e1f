"""A long conversation through `Chat` and SQLite: how time per turn, the database and the process grow with it.

`Chat` reads the whole conversation at each turn, so time per turn can at best grow linearly. The parts that do so are
timed apart at the end of each block of turns.
"""

import gc
import math
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, linear_regression, median

import psutil
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from phireside.chains import Chat
from phireside.memory import ConversationStore, Memory, SummaryBufferMemory, counter_of

WAIT_S = 600.0
LEVEL_MB = 10.0  # growth of a process that counts as none, as in tests/reliability, row 30
LINEAR = 1.15  # exponent that counts as linear: a block's median is not exact
ANSWER = "I see. That is good to know, and I will think of it when you ask me about it again. What else is there?"


class Parrot(BaseChatModel):
    """A model that takes no time: it says the same of everything."""

    @property
    def _llm_type(self) -> str:
        return "parrot"

    def _generate(self, *_: object, **__: object) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(ANSWER))])


@dataclass(frozen=True)
class Block:
    """Turns up to a number, and what they took: medians, in seconds.

    Attributes:
        turns: of the conversation at its end.
        answer: from the question until the answer is saved.
        after: until what is done in the background is done.
        read, select, due: parts of these, at the end of the block: reading the conversation, choosing what is sent, and
            finding out whether there is anything to summarise.
        database: bytes of all pages, those among them that are in SQLite's log still.
        rss: MB of the process.
    """

    turns: int
    answer: float
    after: float
    read: float
    select: float
    due: float
    database: int
    rss: float


def run(folder: Path, model: BaseChatModel, budget: int, turns: int, size: int) -> list[Block]:
    """Ask `turns` times, in blocks of `size`.

    Args:
        folder: where the database is put.
        model: who answers.
        budget: tokens that a prompt may have.
        turns, size: see above.
    """
    path, memory = folder / "conversations.db", SummaryBufferMemory(budget=budget)
    store = ConversationStore(f"sqlite:///{path}")
    chat, blocks = Chat(store, memory), list[Block]()
    try:
        conversation = store.create().id
        for end in range(size, turns + 1, size):
            times = [_ask(chat, conversation, model, number) for number in range(end - size, end)]
            answer, after = (median(column) for column in zip(*times, strict=True))
            parts = _parts(store, conversation, memory, model, budget)
            gc.collect()
            rss = psutil.Process().memory_info().rss / 1e6
            blocks.append(Block(end, answer, after, *parts, _size(path), rss))
            print(f"  {end} turns", flush=True)
    finally:
        chat.close()
        store.close()
    return blocks


def _ask(chat: Chat, conversation: str, model: BaseChatModel, number: int) -> tuple[float, float]:
    """Seconds of an answer, and of what comes after it."""
    text = f"This is message {number}. Yesterday I walked {number % 17} miles along the harbour. What do you say?"
    start = time.perf_counter()
    turn = chat.send(conversation, text, model=model)
    while not turn.wait(WAIT_S):
        pass
    answered = time.perf_counter()
    if turn.error:
        raise turn.error
    assert chat.settle(conversation, WAIT_S), "a summary takes too long"
    return answered - start, time.perf_counter() - answered


def _parts(
    store: ConversationStore, conversation: str, memory: Memory, model: BaseChatModel, budget: int
) -> tuple[float, float, float]:
    history, state, count = store.messages(conversation), store.memory_state(conversation), counter_of(model)
    asked: list[BaseMessage] = [SystemMessage("Be brief."), *history, HumanMessage("And now?")]
    return (
        _seconds(lambda: store.messages(conversation)),
        _seconds(lambda: memory.select(asked, budget, count, state)),
        _seconds(lambda: memory.due(history, budget, count, state)),
    )


def _size(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size)


def _seconds(work: Callable[[], object], times: int = 5) -> float:
    """The shortest of some tries: a single one may be in another program's way."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def exponent(turns: Sequence[float], values: Sequence[float]) -> float:
    """How values grow with turns: 0 = not at all, 1 = as the turns do, 2 = as their square.

    It is the slope of a line through the logarithms. What is there at no turns makes it smaller, so only the second
    half of the blocks counts, where the least of that is left.
    """
    half = len(turns) // 2 if len(turns) > 3 else 0
    logs = [[math.log(max(value, 1e-9)) for value in column[half:]] for column in (turns, values)]
    return linear_regression(*logs).slope


def growth(blocks: Sequence[Block]) -> dict[str, float]:
    """Exponents of time per turn (and of its parts) and of the database; MB that the process grew per 1,000 turns."""
    turns = [float(block.turns) for block in blocks]
    whole = {"turn": [block.answer + block.after for block in blocks]}
    named = {name: [float(getattr(b, name)) for b in blocks] for name in ("read", "select", "due", "database")}
    found = {name: exponent(turns, values) for name, values in (whole | named).items()}
    half = len(blocks) // 2
    late = blocks[half:] if len(blocks) > 3 else blocks
    slope = linear_regression([b.turns for b in late], [b.rss for b in late]).slope
    quarter = max(1, len(late) // 4)
    grown = fmean(b.rss for b in late[-quarter:]) - fmean(b.rss for b in late[:quarter])
    return found | {"rss_per_1000": 1000 * slope, "rss_grown": grown}


def as_data(blocks: Sequence[Block]) -> dict[str, object]:
    """What is kept of a run."""
    return {"blocks": [asdict(block) for block in blocks], "growth": growth(blocks)}
