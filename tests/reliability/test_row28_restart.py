"""Row 28: the program is killed and started again, a page is loaded again, two tabs have one chat open.

The history is whole, in order, and has nothing twice; what was summarised fits it; and the next prompt is the same as
if nothing had happened. (What Streamlit does with a lost connection: tests/ui/test_browser.py and test_streaming.py.)
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage, HumanMessage
from rehearsed import count, rehearsed
from scripted import scripted
from sqlalchemy import create_engine, make_url

from phireside.chains import Chat, Turn
from phireside.errors import StoreError, TurnRunningError
from phireside.memory import ConversationStore, SummaryBufferMemory
from phireside.memory.budget import UNLIMITED

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks, and kills by SIGKILL")

NAMED = "My name is Maarten. What is 1 + 1?"

# Imports once, then forks a program for each line, and says when it is gone. `hold` asks `turns` questions, and one
# more whose answer, or the compaction behind it, does not end; then it tells the prompt of that one. `talk` asks one
# question after the other and tells when it has seen the answer; whether it waits for the compaction is left to chance.
NURSERY = """
import asyncio, json, os, random, signal, sys
from rehearsed import Rehearsed, held, rehearsed
from scripted import scripted
from phireside.chains import Chat
from phireside.memory import ConversationStore, SummaryBufferMemory

def tell(*words):
    os.write(1, (" ".join(words) + "\\n").encode())

class Slow(Rehearsed):
    async def _agenerate(self, messages, *args, **kwargs):
        await asyncio.sleep(random.uniform(0, 0.01))
        return self._generate(messages, **kwargs)

def ask(chat, conversation, text, model):
    turn = chat.send(conversation, text, model=model, system="Be kind.")
    while not turn.wait(1):
        pass
    assert turn.state == "done", turn.error

def hold(url, conversation, turns, during):
    chat, turns = Chat(ConversationStore(url), SummaryBufferMemory(recent_tokens=0, max_facts=0)), int(turns)
    for number in range(turns):
        text = f"What is {number} + 1?" if number else "My name is Maarten. What is 1 + 1?"
        ask(chat, conversation, text, rehearsed())
        assert chat.settle(conversation, 30)
    if during == "compaction":
        model = held()
        ask(chat, conversation, f"What is {turns} + 1?", model)
        assert model.waiting.wait(60)
    else:
        model = scripted("One ", "two.", hold_at=1)
        turn = chat.send(conversation, f"What is {turns} + 1?", model=model, system="Be kind.")
        while turn.text != "One ":
            turn.wait(1)
    tell("prompt", json.dumps(model.asked[0]))
    signal.pause()

def talk(url, conversation):
    store = ConversationStore(url)
    chat = Chat(store, SummaryBufferMemory(recent_tokens=60, max_tokens=100_000, max_facts=0))
    done = len(store.messages(conversation)) // 2
    while True:
        done += 1
        ask(chat, conversation, f"ask {done}", Slow(asked=[]))
        tell("seen", str(done))
        if random.random() < 0.5:
            chat.settle(conversation, 30)

for line in sys.stdin:
    program, *words = line.split()
    child = os.fork()
    if not child:
        tell("child", str(os.getpid()))
        {"hold": hold, "talk": talk}[program](*words)
    os.waitpid(child, 0)
    tell("gone")
"""


@pytest.fixture
def store(url: str) -> Iterator[ConversationStore]:
    opened = ConversationStore(url)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def nursery() -> Iterator["subprocess.Popen[str]"]:
    path = {"PYTHONPATH": str(Path(__file__).parent.parent / "plugins")}
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | path
    ) as process:
        yield process
        assert process.stdin
        process.stdin.close()


def killed(nursery: "subprocess.Popen[str]", at: str, seconds: float, *program: str) -> dict[str, str]:
    """What a program said last of each thing; it is killed (SIGKILL) so many seconds after it has first said `at`."""
    assert nursery.stdin
    assert nursery.stdout
    nursery.stdin.write(f"{' '.join(program)}\n")
    nursery.stdin.flush()
    said: dict[str, str] = {}
    while "gone" not in said:
        name, _, rest = nursery.stdout.readline().strip().partition(" ")
        assert name
        if name == at and at not in said:
            time.sleep(seconds)
            os.kill(int(said["child"]), signal.SIGKILL)
        said[name] = rest
    return said


def held_program(
    nursery: "subprocess.Popen[str]", url: str, conversation: str, turns: int, during: str
) -> list[tuple[str, str]]:
    """A program that was killed during its last turn; the prompt of that turn."""
    said = killed(nursery, "prompt", 0, "hold", url, conversation, str(turns), during)
    return [(kind, text) for kind, text in json.loads(said["prompt"])]


def ended(turn: Turn) -> Turn:
    while not turn.wait(30):
        pass
    return turn


def ask(chat: Chat, conversation: str, text: str, model: Any) -> str:
    turn = ended(chat.send(conversation, text, model=model, system="Be kind."))
    assert turn.error is None
    assert chat.settle(conversation, 30)
    return turn.text


def texts(store: ConversationStore, conversation: str) -> list[str]:
    return [message.text for message in store.messages(conversation)]


def fits(store: ConversationStore, conversation: str) -> bool:
    """Whether the summary, in which the rehearsed model repeats each question, is that of what it covers."""
    state, asked = store.memory_state(conversation), texts(store, conversation)[::2]
    return state.covered % 2 == 0 and state.summary == " ".join(asked[: state.covered // 2])


def test_killed_during_a_compaction_the_program_goes_on_as_if_nothing_had_happened(
    store: ConversationStore, url: str, nursery: "subprocess.Popen[str]", figure: Callable[[int, str], None]
) -> None:
    conversation, turns = store.create().id, 4
    prompt = held_program(nursery, url, conversation, turns, "compaction")
    questions = [NAMED, *[f"What is {number} + 1?" for number in range(1, turns + 1)]]
    answers = [f"It is {number}." for number in [2, *range(2, turns + 2)]]
    assert texts(store, conversation) == [text for pair in zip(questions, answers, strict=True) for text in pair]
    state = store.memory_state(conversation)
    assert state.covered == 2 * turns - 2  # as it was before the turn whose compaction was killed
    assert ("system", f"Summary of the conversation so far:\n{state.summary}") in prompt

    chat, model = Chat(store, SummaryBufferMemory(recent_tokens=0, max_facts=0)), rehearsed()
    assert ask(chat, conversation, "What is my name?", model) == "Your name is Maarten."
    told = [("human", questions[-1]), ("ai", answers[-1]), ("human", "What is my name?")]
    assert model.chats[0] == [*prompt, ("ai", answers[-1]), told[-1]]  # the killed program's prompt goes on
    assert store.memory_state(conversation).covered == 2 * turns + 2  # what was not done is made up for
    chat.close()
    figure(28, f"{backend(url)}: killed during a compaction: 0 of {turns + 1} turns lost or doubled, the same prompt")


def test_killed_during_an_answer_the_question_can_be_asked_again_with_the_same_prompt(
    store: ConversationStore, url: str, nursery: "subprocess.Popen[str]", figure: Callable[[int, str], None]
) -> None:
    conversation = store.create().id
    prompt = held_program(nursery, url, conversation, 3, "answer")
    before = texts(store, conversation)
    assert before[::2] == [NAMED, "What is 1 + 1?", "What is 2 + 1?"]  # question and half an answer: neither is there
    chat, model = Chat(store, SummaryBufferMemory(recent_tokens=0, max_facts=0)), scripted("One ", "two.")
    assert ask(chat, conversation, "What is 3 + 1?", model) == "One two."
    assert model.asked[0] == prompt
    assert texts(store, conversation) == [*before, "What is 3 + 1?", "One two."]
    chat.close()
    figure(28, f"{backend(url)}: killed during an answer: 0 of 3 turns lost, no half turn, the same prompt")


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_killed_at_any_time_nothing_that_was_seen_is_lost_or_doubled_and_the_summary_fits(
    store: ConversationStore,
    url: str,
    nursery: "subprocess.Popen[str]",
    figure: Callable[[int, str], None],
    kills: int,
) -> None:
    conversation, chance = store.create().id, random.Random(28)
    seen, during, wrong = 0, 0, []
    for _ in range(kills):
        last = int(killed(nursery, "seen", chance.uniform(0, 0.2), "talk", url, conversation)["seen"])
        until_quiet(url)
        found = texts(store, conversation)
        asked = len(found) // 2
        wrong += [] if found[::2] == [f"ask {n}" for n in range(1, asked + 1)] else ["order"]
        wrong += [] if last <= asked <= last + 1 else ["turns"]
        wrong += [] if set(found[1::2]) <= {"I see."} and len(found) % 2 == 0 else ["pairs"]
        wrong += [] if fits(store, conversation) else ["summary"]
        during += asked > store.memory_state(conversation).covered // 2 + 3  # 60 tokens: compaction was due
        seen = asked
    figure(
        28,
        f"{backend(url)}: killed and started {kills} times in {seen} turns, {during} times while a compaction was due: "
        f"{len(wrong)} faults (a turn lost, doubled or in disorder, a summary that does not fit)",
    )
    assert wrong == []
    assert seen >= kills
    assert store.memory_state(conversation).covered > 0


def until_quiet(url: str) -> None:
    """Until a server has done what it was sent by a program that is gone, or given it up; SQLite has no server."""
    busy = "SELECT count(*) FROM pg_stat_activity WHERE starts_with(state, 'idle in ') OR state = 'active'"
    engine = create_engine(url)
    with engine.connect() as connection:
        while backend(url) == "postgresql" and connection.exec_driver_sql(busy).scalar_one() > 1:  # this one is busy
            time.sleep(0.01)
            connection.rollback()  # the list is of the moment at which a transaction first asked for it
    engine.dispose()


@pytest.mark.parametrize("programs", [1, 2])
def test_two_tabs_on_one_chat_lose_and_double_nothing(
    store: ConversationStore, url: str, figure: Callable[[int, str], None], programs: int
) -> None:
    """In one program a second question is refused while the first is answered; two programs write in turns."""
    conversation, refused = store.create().id, []
    stores = [store, *(ConversationStore(url) for _ in range(programs - 1))]
    chats = [Chat(each, SummaryBufferMemory(recent_tokens=60, max_tokens=100_000, max_facts=0)) for each in stores]

    def tab(name: int) -> None:
        chat = chats[name % programs]
        for number in range(15):
            while True:
                try:
                    turn = chat.send(conversation, f"tab {name} asks {number}", model=rehearsed())
                    break
                except TurnRunningError:
                    refused.append(name)
                    if other := chat.running(conversation):
                        other.wait(1)
            assert ended(turn).state == "done"

    tabs = [threading.Thread(target=tab, args=(name,)) for name in range(2)]
    for thread in tabs:
        thread.start()
    for thread in tabs:
        thread.join()
    for chat in chats:
        assert chat.settle(conversation, 30)
        chat.close()
    found = texts(store, conversation)
    assert found[1::2] == ["I see."] * 30
    for name in range(2):
        assert [text for text in found if text.startswith(f"tab {name}")] == [f"tab {name} asks {n}" for n in range(15)]
    assert fits(store, conversation)
    assert store.memory_state(conversation).covered > 0
    for each in stores[1:]:
        each.close()
    figure(
        28,
        f"{backend(url)}: two tabs in {programs} program{'s'[: programs - 1]}: 0 of 30 turns lost or doubled, "
        f"{len(refused)} asked again because an answer was being written",
    )


def test_an_edit_in_a_tab_that_has_not_seen_the_others_turn_replaces_nothing(store: ConversationStore) -> None:
    conversation = store.create().id
    chat = Chat(store, SummaryBufferMemory(recent_tokens=0, max_facts=0))
    for text in (NAMED, "What is 2 + 2?"):
        ask(chat, conversation, text, rehearsed())
    before, state = texts(store, conversation), store.memory_state(conversation)
    turn = ended(chat.send(conversation, "What is 9 + 9?", model=rehearsed(), at=0, seen=2))
    assert isinstance(turn.error, StoreError)
    assert texts(store, conversation) == before
    assert store.memory_state(conversation) == state
    chat.close()


def test_a_page_that_is_loaded_again_or_gone_for_good_changes_nothing(store: ConversationStore) -> None:
    conversation, model = store.create().id, scripted("One ", "two ", "three.", hold_at=1)
    chat = Chat(store, SummaryBufferMemory(recent_tokens=0))
    turn = chat.send(conversation, "Count.", model=model)
    while turn.text != "One ":
        turn.wait(1)
    page = chat.running(conversation)  # the page is loaded again, and shows what is there already
    assert page is turn
    with pytest.raises(TurnRunningError):  # a browser that sends its question again
        chat.send(conversation, "Count.", model=model)
    assert texts(store, conversation) == []
    model.go.set()  # nobody looks on now
    while chat.running(conversation):
        time.sleep(0.005)
    assert texts(store, conversation) == ["Count.", "One two three."]
    chat.close()


def test_the_prompt_is_the_same_in_every_program_that_opens_the_conversation(
    store: ConversationStore, url: str, tmp_path: Path
) -> None:
    conversation = store.create().id
    chat = Chat(store, SummaryBufferMemory(recent_tokens=100))
    for number in range(12):
        ask(chat, conversation, f"I have {number} cats. What is {number} + 1?", rehearsed())
    chat.close()

    def prompt(opened: ConversationStore) -> list[BaseMessage]:
        history = [*opened.messages(conversation), HumanMessage("now")]
        memory = SummaryBufferMemory(recent_tokens=100)
        return memory.select(history, UNLIMITED, count, opened.memory_state(conversation)).messages

    again = ConversationStore(url)
    assert prompt(again) == prompt(store)
    assert prompt(again)[0].text.startswith("Summary of the conversation so far:\nI have 0 cats.")
    again.close()


def backend(url: str) -> str:
    return make_url(url).get_backend_name()
