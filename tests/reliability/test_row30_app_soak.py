"""Row 30 through the app: files are dropped in chats, asked about, another base is switched on, and the chats deleted,
without end. Memory, files and threads level off.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SOAK = """
import gc, json, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import psutil
from answers import answers
from hashed import HashedEmbeddings
from phireside.agents import assistant
from phireside.agents.assistant import Uses, answerer
from phireside.chains import Chat
from phireside.memory import ConversationStore
from phireside.retrieval import base_names
from phireside.retrieval.names import chat_base
from phireside.settings import Settings
from phireside.ui import attachments
from phireside.ui.knowledge_work import Desk

assistant.embeddings_named = lambda _: HashedEmbeddings()
settings, rounds, each = Settings(data_dir=Path(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])
settings.data_dir.mkdir()
store, desk = ConversationStore(settings.conversations_url), Desk()
chat, process, bad = Chat(store), psutil.Process(), 0

def ended(turn):
    while not turn.wait(1):
        pass
    return turn

def one(number):
    made = store.create(f"Chat {number}")
    name = chat_base(made.id)
    def then():
        model = answers("The word is here. [1]")
        return chat.send(made.id, "Which word?", model=model, answerer=answerer(model, settings, Uses(name)))
    files = [(f"{part}.txt", f"The word {number} of {part} is here.".encode()) for part in range(4)]
    files = attachments.attach(desk, settings, made.id, files, "Which word?", then)
    files.work.wait()
    first = ended(files.turn)
    other = answers("The word is there. [1]")  # and now from the base that stays
    second = chat.send(made.id, "And there?", model=other, answerer=answerer(other, settings, Uses("stays")))
    ended(second)
    attachments.take(made.id)
    desk.dismiss(settings.bases_dir / name)
    store.delete(made.id)
    attachments.forget_files(desk, settings, store, made)
    return (first.state, second.state) == ("done", "done") and name not in base_names(settings.bases_dir)

assistant.knowledge_base("stays", settings, create=True).add_text("The word there stays.")
for done in range(rounds):
    for number in range(each):
        bad += not one(done * each + number)
    time.sleep(0.1)
    gc.collect()
    print(json.dumps({
        "rss": process.memory_info().rss,
        "fds": process.num_fds() if hasattr(process, "num_fds") else 0,
        "threads": process.num_threads(),
        "bases": len(base_names(settings.bases_dir)),
        "bad": bad,
    }), flush=True)
chat.close()
assistant.close_bases()
store.close()
"""


@pytest.mark.parametrize(
    ("rounds", "each"), [(6, 2), pytest.param(10, 5, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_files_in_chats_that_are_deleted_leave_nothing_behind(
    tmp_path: Path, root: Path, figure: Callable[[int, str], None], rounds: int, each: int
) -> None:
    command = [
        sys.executable,
        "-c",
        SOAK,
        str(root / "tests" / "plugins"),
        str(tmp_path / "data"),
        str(rounds),
        str(each),
    ]
    child = subprocess.run(command, capture_output=True, text=True, timeout=1700, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    early, late = lines[rounds // 2], lines[-1]
    grown = {name: late[name] - early[name] for name in late}
    chats, done = rounds * each, 4 * each * (rounds - 1 - rounds // 2)
    figure(30, f"{4 * chats} files in {chats} chats, {2 * chats} switches of the base, all deleted: "
               f"{grown['rss'] / 1e6 * 100 / done:+.2f} MB/100 files, {grown['fds']:+d} fds, "
               f"{grown['threads']:+d} threads")  # fmt: skip
    assert (late["bad"], late["bases"]) == (0, 1)
    assert grown["rss"] < 8e6
    assert grown["fds"] <= 0
    assert grown["threads"] <= 2  # a pool grows to its limit when two calls happen to meet
