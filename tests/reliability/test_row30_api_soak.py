"""Row 30 through the API: requests of every kind without end, also wrong ones and such that are given up. Memory, files
and threads level off. Server and client are in one child process, over real sockets.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Rounds of requests; a line of figures after each round.
WORKER = """
import gc, json, operator, socket, sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import httpx, psutil, uvicorn
from hashed import HashedEmbeddings
from phireside.api import create_app
from phireside.retrieval import KnowledgeBase
from phireside.settings import EngineSettings, Settings

folder, model, rounds, each = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
engine = EngineSettings(n_ctx=1024, n_threads=1, n_threads_batch=1, kv_disk_bytes=0)
settings = Settings(data_dir=folder, model=model, engine=engine)
base = KnowledgeBase.named("flat", settings.bases_dir, HashedEmbeddings(), create=True)
base.add_texts([f"The flat number {n} has {n} rooms." for n in range(20)])
base.close()
app = create_app(settings, embedding_model=HashedEmbeddings())
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()  # who asks before the server is up waits
server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
thread.start()
url = f"http://127.0.0.1:{listener.getsockname()[1]}"
watcher = httpx.Client(base_url=url, timeout=60, verify=False)
CHAT, process, bad = "/v1/chat/completions", psutil.Process(), 0

def body(number, **more):
    told = [{"role": "user", "content": f"Question {number} of many."}]
    return {"model": "chat", "messages": told, "max_tokens": 8, "temperature": 0, **more}

def requests(number):
    with httpx.Client(base_url=url, timeout=60, verify=False) as client:  # there is no TLS here to be set up
        yield client.post(CHAT, json=body(number)).status_code == 200
        yield client.post(CHAT, json=body(number, stream=True)).text.endswith("[DONE]\\n\\n")
        yield client.post(CHAT, json=body(number, n=2, max_tokens=4)).status_code == 200
        with client.stream("POST", CHAT, json=body(number, stream=True, max_tokens=500)) as left:
            next(left.iter_lines())
        yield client.post(CHAT, json=body(number, max_tokens="many")).status_code == 400
        yield client.post(CHAT, json=body(number, model="nobody")).status_code == 404
        yield client.post(CHAT, content=b"{" * 1000, headers={"content-type": "application/json"}).status_code == 400
        yield client.post(CHAT, json=body("a " * 3000)).status_code == 400
        yield client.post("/v1/embeddings", json={"model": "embeddings", "input": ["one", "two"]}).status_code == 200
        yield client.post(CHAT, json=body(number, model="rag:flat")).status_code == 200
        yield client.get("/v1/models").status_code == 200
        yield client.get("/metrics").status_code == 200
        yield client.get("/health").json()["status"] == "ok"

def held():
    return process.num_fds() if hasattr(process, "num_fds") else 0, process.num_threads()

few = held()
for done in range(rounds):
    for number in range(each):
        bad += sum(not fine for fine in requests(done * each + number))
    end = time.monotonic() + 60
    while watcher.get("/health").json()["open"] and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    gc.collect()
    while done > rounds // 2 and any(map(operator.gt, held(), few)) and time.monotonic() < end:
        time.sleep(0.01)  # connections that are being closed
    few = held()
    print(json.dumps({
        "rss": process.memory_info().rss,
        "fds": few[0],
        "threads": few[1],
        "open": watcher.get("/health").json()["open"],
        "series": watcher.get("/metrics").text.count("\\n"),
        "bad": bad,
    }), flush=True)
watcher.close()
server.should_exit = True
thread.join()
"""


@pytest.mark.parametrize(
    ("rounds", "each"), [(6, 3), pytest.param(12, 12, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_requests_leave_nothing_behind(
    tmp_path: Path, root: Path, tiny_chatml: Path, figure: Callable[[int, str], None], rounds: int, each: int
) -> None:
    command = [sys.executable, "-c", WORKER, str(root / "tests" / "plugins"), str(tmp_path), str(tiny_chatml)]
    child = subprocess.run(
        [*command, str(rounds), str(each)], capture_output=True, text=True, timeout=1700, check=False
    )
    assert child.returncode == 0, child.stderr[-2000:]
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    assert len(lines) == rounds
    early, late = lines[rounds // 2], lines[-1]
    grown = {name: late[name] - early[name] for name in late}
    done = 13 * each * (rounds - 1 - rounds // 2)
    figure(
        30,
        f"{13 * each * rounds} requests, {each * rounds} of them given up: {grown['rss'] / 1e6 * 100 / done:+.2f} "
        f"MB/100 requests, {grown['fds']:+d} fds, {grown['threads']:+d} threads, {late['bad']} wrong answers",
    )
    assert late["bad"] == 0
    assert late["open"] == 0
    assert grown["rss"] < 10e6
    assert max(grown[name] for name in ("fds", "series")) <= 0
    assert grown["threads"] <= 2  # a pool grows to its limit when two calls happen to meet
