"""Several app processes on one database and one data folder: each sees what the others did, and nothing is mixed up.

That nothing is lost where they write at the same moment: tests/reliability/test_row09_contention.py (stores) and
test_row28_restart.py (chats); bases: tests/retrieval/test_two_processes.py.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phireside.memory import ConversationStore

# An app without its page: for each line of JSON a turn of a conversation. With an argument its model is scripted.
PROGRAM = """
import json, sys
from phireside.chains import Chat
from phireside.memory import ConversationStore
from phireside.models import load_chat_model
from phireside.settings import Settings

settings = Settings()
store = ConversationStore(settings.conversations_url)
chat = Chat(store, state_dir=settings.state_dir)
if sys.argv[1:]:
    sys.path.insert(0, sys.argv[1])
    from answers import answers
    model = answers(lambda messages: f"I was sent {len(messages)} messages.")
else:
    model = load_chat_model("starter", settings, temperature=0, max_tokens=8)
for line in sys.stdin:
    turn = chat.send(*json.loads(line), model=model)
    while not turn.wait(1):
        pass
    assert turn.answer, turn.error
    print(json.dumps({"text": turn.text, **turn.answer.response_metadata}), flush=True)
chat.close()
store.close()
"""


class App:
    """One of them, in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-c", PROGRAM, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, conversation: str, text: str) -> dict[str, Any]:
        """Its answer, with the figures."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([conversation, text]), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def end(self) -> None:
        """As when a person ends it: what is to be kept is written."""
        self._process.communicate(timeout=120)
        assert self._process.returncode == 0


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., App]]:
    """Starts apps that share a data folder, and ends those that are left."""
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path / "data"))
    apps: list[App] = []

    def begin(*arguments: str) -> App:
        apps.append(App(*arguments))
        return apps[-1]

    yield begin
    for app in apps:
        if app._process.poll() is None:
            app.end()


def test_apps_that_take_turns_in_a_conversation_know_what_the_others_were_told(
    url: str, start: Callable[..., App], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHIRESIDE_DATABASE_URL", url)
    store = ConversationStore(url)
    conversation = store.create().id
    apps = [start(str(root / "tests" / "plugins")) for _ in range(2)]
    for number in range(6):
        said = apps[number % 2].ask(conversation, f"Question {number}")
        assert said["text"] == f"I was sent {2 * number + 1} messages."
    texts = [message.text for message in store.messages(conversation)]
    store.close()
    assert texts[::2] == [f"Question {number}" for number in range(6)]


@pytest.mark.real
def test_what_one_app_has_read_another_need_not_read_again(
    start: Callable[..., App], tmp_path: Path, starter_path: Path
) -> None:
    """The engines are two, each with the weights mapped and a cache of its own; KV states on disk are shared."""
    (tmp_path / "data").mkdir()
    store = ConversationStore(f"sqlite:///{tmp_path / 'data' / 'conversations.db'}")
    conversation, other = store.create().id, store.create().id
    store.close()
    first, second = start(), start()
    second.ask(other, "Say hello.")  # it runs before the first one's state is there
    begun = first.ask(conversation, "Say something about the rivers of Europe, one after the other. " * 10)
    first.end()
    continued = second.ask(conversation, "And in Asia?")
    assert continued["restored_tokens"] >= begun["evaluated_tokens"]
    assert continued["evaluated_tokens"] < begun["evaluated_tokens"]
