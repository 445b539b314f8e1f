"""`examples/bot_loop.py` answers threads side by side, remembers each of them, and goes on after a restart."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from phireside.memory import ConversationStore

pytestmark = pytest.mark.real


def lines(*messages: tuple[str, str]) -> str:
    return "".join(json.dumps({"thread": thread, "text": text}) + "\n" for thread, text in messages)


def test_threads_have_their_own_memory_and_a_bad_line_harms_nobody(example: Callable[..., str], place: Path) -> None:
    given = lines(("a", "Hello, I am Ann."), ("b", "Good morning!")) + "no message\n[]\n" + lines(("a", "Who am I?"))
    told = [json.loads(line) for line in example("bot_loop.py", given=given).splitlines()]
    assert sorted(each["thread"] for each in told) == ["a", "a", "b"]
    assert all(each["text"] for each in told)

    (told,) = example("bot_loop.py", given=lines(("b", "!calc 17 * 23"))).splitlines()  # a restarted bot
    assert json.loads(told)["text"].startswith("391")  # what the agent's calculator said
    store = ConversationStore(f"sqlite:///{place / 'bot.db'}")
    kept = {each.title: [message.text for message in store.messages(each.id)] for each in store.list()}
    store.close()
    assert kept["thread a"][::2] == ["Hello, I am Ann.", "Who am I?"]
    assert kept["thread b"][::2] == ["Good morning!", "17 * 23"]
