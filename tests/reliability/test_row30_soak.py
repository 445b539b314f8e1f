"""Row 30: turns, scores, forks, grammars and model switches without end: memory, files and threads level off.

A load that is killed halfway leaves nothing that troubles the next. Uploads: test_row30_base_soak.py.
"""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

Figure = Callable[[int, str], None]

# Serves `switches` engines one after the other, `turns` turns each, and prints a line of figures after each of them.
WORKER = """
import gc, json, sys, threading
from pathlib import Path
import psutil
from phireside.models.engine import Engine, Request, Sampling
from phireside.models.grammar import Grammar
from phireside.settings import EngineSettings

folder, switches, turns, *models = sys.argv[1:]
settings = EngineSettings(n_ctx=512, cache_tokens=1024, n_batch=64, n_sequences=4, n_threads=1, n_threads_batch=1,
                          draft_tokens=4, kv_disk_bytes=300_000)
GREEDY, DRAW = Sampling(temperature=0), Sampling(temperature=1, seed=1)
LIST = Grammar.json({"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 5})
process, errors, wrong = psutil.Process(), 0, 0
folder = Path(folder)

def text_of(answer):
    return "".join(answer)

def turn(engine, history, number):
    prompt = tuple(history + [300 + number % 1000] * 5)
    answer = engine.complete(Request(prompt, GREEDY, 12, keep=f"chat {number // 10}"))
    text_of(answer)
    kind = number % 5
    if kind == 1:
        engine.score(prompt, [(400 + i, 500, 600)[: 1 + i % 3] for i in range(20)])
    elif kind == 2:
        [text_of(branch) for branch in engine.fork(Request(prompt, DRAW, 8), 4)]
    elif kind == 3:
        json.loads(text_of(engine.complete(Request(prompt, DRAW, 40, grammar=LIST))))
    elif kind == 4:
        gone = [engine.complete(Request(prompt, GREEDY, 100)) for _ in range(2)]
        next(iter(gone[0]))
        gone[0].cancel()
        del gone  # the other one is dropped unread
    if number % 30 == 29:
        engine.forget(f"chat {number // 10}")
    return [*prompt, *answer.ended.tokens]

for switch in range(int(switches)):
    with Engine(Path(models[switch % len(models)]), settings, folder / str(switch % len(models)) / "kv") as engine:
        history = []
        for number in range(int(turns)):
            history = turn(engine, history if number % 10 else [], number)
    gc.collect()
    print(json.dumps({
        "rss": process.memory_info().rss,
        "fds": process.num_fds() if hasattr(process, "num_fds") else 0,
        "threads": process.num_threads(),
        "python threads": threading.active_count(),
        "kv": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        "temporary": len(list(folder.rglob("*.tmp"))),
    }), flush=True)
"""

LOADER = """
import sys
from pathlib import Path
from phireside.models.engine import Engine, Request, Sampling
from phireside.settings import EngineSettings

settings = EngineSettings(n_ctx=512, n_threads=1, n_threads_batch=1)
engine = Engine(Path(sys.argv[1]), settings, Path(sys.argv[2]))
print("loading", flush=True)
answer = engine.complete(Request(tuple(range(300, 420)), Sampling(temperature=0), 20, keep="chat"))
text = "".join(answer)
engine.close()
print(text.encode(), flush=True)
"""


@pytest.mark.parametrize(
    ("switches", "turns"), [(8, 10), pytest.param(20, 50, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_memory_files_and_threads_level_off(
    tiny_phi3: Path, tiny_chatml: Path, tmp_path: Path, figure: Figure, switches: int, turns: int
) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path), str(switches), str(turns), str(tiny_phi3), str(tiny_chatml)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    rounds = [json.loads(line) for line in child.stdout.splitlines()]
    assert len(rounds) == switches
    late = rounds[5:]  # the grammars' tables of the last few models are kept (`table_of`)
    grown = (late[-1]["rss"] - late[0]["rss"]) / 1e6
    per_hundred = grown * 100 / (turns * (len(late) - 1))
    figure(
        30,
        f"{switches * turns} turns, {switches - 1} model switches, 2 x 8.9 MB: {per_hundred:+.2f} MB/100 turns, "
        f"{late[-1]['fds'] - late[0]['fds']:+d} fds, {late[-1]['threads'] - late[0]['threads']:+d} threads, "
        f"KV files {late[-1]['kv'] / 1e6:.2f} MB of 0.6 allowed",
    )
    assert grown < 10
    for name in ("fds", "threads", "python threads"):
        assert late[-1][name] <= late[0][name], name
    assert all(each["kv"] <= 600_000 and each["temporary"] == 0 for each in rounds)
    assert late[-1]["kv"] > 0


def load(model: Path, folder: Path, patience: float | None) -> tuple[int, str]:
    """A process that loads a model and answers, killed after `patience` seconds of it: (exit code, its answer)."""
    command = [sys.executable, "-c", LOADER, str(model), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "loading\n"
        if patience is not None:
            time.sleep(patience)
            child.kill()
        rest, complaint = child.communicate(timeout=120)
    assert patience is not None or complaint == ""
    return child.returncode, rest


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
@pytest.mark.parametrize("times", [3, pytest.param(30, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_load_killed_halfway_troubles_nobody_after_it(
    tiny_phi3: Path, tmp_path: Path, figure: Figure, times: int
) -> None:
    folder, chance = tmp_path / "0123456789abcdef" / "kv", random.Random(30)
    _, expected = load(tiny_phi3, tmp_path / "other" / "kv", None)
    assert expected
    killed = 0
    for _ in range(times):
        code, _ = load(tiny_phi3, folder, chance.uniform(0, 0.1))
        killed += code == -signal.SIGKILL
    code, text = load(tiny_phi3, folder, None)
    figure(30, f"{killed} of {times} loads killed halfway: the next one answers as ever (95 % bound {3 / times:.0%})")
    assert (code, text) == (0, expected)
    assert len(list(folder.glob("*.tmp"))) <= times  # they go after an hour
    assert len(list(folder.glob("*.kv"))) == 1
