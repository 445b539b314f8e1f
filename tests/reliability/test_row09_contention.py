"""Row 9: two processes with eight threads each read and write the same conversations, while a third holds the lock.

Nobody is told "database is locked"; every turn is there once, whole, and in its writer's order. What a memory made of a
conversation is there too, and where another writer was first it is refused and not mixed up. On SQLite and PostgreSQL.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, make_url

from phireside.memory import ConversationStore

PROCESSES, THREADS = 2, 8

# Opens its own store, says so, and waits for a line. Then each thread reads and writes its own conversation and one
# that all share, in turn, and the process prints the seconds of each turn and the errors.
WORKER = """
import json, sys, threading, time
from langchain_core.messages import AIMessage, HumanMessage
from phireside.errors import StoreError
from phireside.memory import ConversationStore, MemoryState

url, process, threads, turns, shared = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
store = ConversationStore(url)
own = [store.create(f"{process}.{thread}") for thread in range(threads)]
seconds, errors, kept, refused = [], [], [], []

def work(thread):
    try:
        mine = own[thread]
        for number in range(turns):
            began = time.perf_counter()
            if number % 2:
                store.get(shared)
                place = shared
            else:
                assert len(store.messages(mine.id)) == number
                place = mine.id
            name = f"{process}.{thread}.{number}"
            store.save_turn(place, [HumanMessage(name), AIMessage(name)])
            seconds.append(time.perf_counter() - began)
            summarize(place, name)
    except Exception as error:
        errors.append(repr(error))

def summarize(place, name):
    "As after an answer: of the own conversation it is kept, of the shared one only if nobody was faster."
    as_of, before = store.get(place).updated_at, store.memory_state(place)
    covered = len(store.messages(place))
    assert before.covered <= covered
    try:
        store.save_memory_state(place, MemoryState(f"{covered} by {name}", (name,), covered), as_of=as_of)
        kept.append(name)
    except StoreError as error:
        if place != shared or "the conversation changed" not in str(error):
            raise
        refused.append(name)

workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
print("ready", flush=True)
sys.stdin.readline()
for worker in workers: worker.start()
for worker in workers: worker.join()
store.close()
print(json.dumps({"seconds": seconds, "errors": errors, "kept": kept, "refused": refused}))
"""


@pytest.mark.parametrize(
    ("turns", "locked_for"), [(10, 1.0), pytest.param(312, 4.0, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_nobody_is_told_that_the_database_is_locked(
    url: str, figure: Callable[[int, str], None], turns: int, locked_for: float
) -> None:
    store = ConversationStore(url)
    shared = store.create("shared").id
    workers = [start_worker(url, name, turns, shared) for name in range(PROCESSES)]
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
    results = [json.loads(out) for out in run_beside_a_lock(url, workers, locked_for)]

    errors = [error for result in results for error in result["errors"]]
    seconds = sorted(second for result in results for second in result["seconds"])
    p50, p99 = (1000 * seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
    kept, refused = (sum(len(result[what]) for result in results) for what in ("kept", "refused"))
    figure(
        9,
        f"{make_url(url).get_backend_name()}: {len(errors)} errors in {len(seconds)} turns, {PROCESSES} x {THREADS} "
        f"writers, lock held {locked_for:.0f} s: p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {seconds[-1]:.1f} s; "
        f"{kept} memory states kept, {refused} refused because somebody else was faster",
    )
    assert errors == []
    assert kept + refused == len(seconds)
    assert refused  # with sixteen writers some are always too late
    check_order_and_counts(store, shared, turns)
    check_states(store, shared, turns)
    store.close()


def start_worker(url: str, name: int, turns: int, shared: str) -> subprocess.Popen[str]:
    arguments = [url, str(name), str(THREADS), str(turns), shared]
    command = [sys.executable, "-c", WORKER, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_beside_a_lock(url: str, workers: list[subprocess.Popen[str]], seconds: float) -> list[str]:
    """Let the workers go while the write lock is held from outside for some time; what they printed."""
    other = create_engine(url)
    with other.begin() as connection:
        lock = "BEGIN IMMEDIATE" if connection.dialect.name == "sqlite" else "LOCK TABLE messages IN EXCLUSIVE MODE"
        connection.exec_driver_sql(lock)
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("\n")
            worker.stdin.flush()
        time.sleep(seconds)
        assert all(worker.poll() is None for worker in workers)  # they wait for the lock, they did not fail
    other.dispose()
    outputs = [worker.communicate(timeout=800)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(workers)
    return outputs


def check_order_and_counts(store: ConversationStore, shared: str, turns: int) -> None:
    writers = [f"{process}.{thread}" for process in range(PROCESSES) for thread in range(THREADS)]
    own = {c.title: [m.text for m in store.messages(c.id)] for c in store.list() if c.id != shared}
    assert own == {name: [f"{name}.{i}" for i in range(0, turns, 2) for _ in "qa"] for name in writers}
    together = [message.text for message in store.messages(shared)]
    assert together[::2] == together[1::2]  # each answer right behind its question
    for name in writers:
        mine = [text for text in together[::2] if text.rpartition(".")[0] == name]
        assert mine == [f"{name}.{i}" for i in range(1, turns, 2)]


def check_states(store: ConversationStore, shared: str, turns: int) -> None:
    """Each state says how many messages it was made of, and by whom: none is another's, or of messages to come."""
    for made in store.list():
        state, texts = store.memory_state(made.id), [message.text for message in store.messages(made.id)]
        covered, _, writer = state.summary.partition(" by ")
        assert int(covered) == state.covered <= len(texts)
        assert state.facts == (writer,)
        if made.id == shared:
            assert writer in texts[: state.covered]
        else:
            assert (state.covered, writer) == (len(texts), texts[-1])
