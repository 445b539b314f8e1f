"""What the API adds: the same requests to `phireside serve` and `llama-server`, same weights. Target: 1.0 or less.

Both run in a process of their own, with the same threads, context and batch size, and are asked by one client over HTTP
on this machine, in OpenAI's form. Everybody writes greedily. Three rows, of which the first is nearly all overhead:

- `round trip`: one token for a prompt that is in the cache, answered as one JSON value; seconds of a request.
- `stream`: one answer to a new prompt, streamed; seconds per token that was written, from the request to [DONE].
- `together`: as many streams at once as `--chats`; seconds per token that was written by all, until the last has ended.

A ratio is our seconds divided by llama-server's within a pair; below 1.0 ours is quicker. What llama.cpp itself takes
is in both: its two releases may differ (see README.md).

    python benchmarks/api.py --model starter
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx

sys.path.append(str(Path(__file__).parent / "engine"))

import peers
from common import Machine, Spread, parse, parser, ratios, report, take_turns

if TYPE_CHECKING:
    import argparse

TARGET = 1.0
START_SECONDS = 120
OURS, PEER = "phireside serve", "llama-server"
SERVE = "import typer; from phireside.cli.serve import serve; typer.run(serve)"
STORY = "Write a story about {} who finds a letter in a bottle. Take your time, and tell every detail of day {}."
PEOPLE = ("a sailor", "a baker", "the keeper of a lighthouse", "a clerk", "an old fisherman", "two children")
GREEDY = {"temperature": 0, "top_k": 1}
Ask = Callable[[int], float]


def main() -> int:
    """Measure in turns; 1 if a median is above the target."""
    options = parser(__doc__ or "")
    options.add_argument("--n-gpu-layers", type=int, default=-1, help="on both sides; -1 = all (default)")
    options.add_argument("--tokens", type=int, default=128, help="that each answer has at most (128)")
    options.add_argument("--trips", type=int, default=50, help="round trips in a turn (50)")
    options.add_argument("--chats", type=int, default=8, help="streams at once (8)")
    chosen = parse(options)
    machine = Machine.now()
    print(machine, f"model:   {chosen.path.name}", sep="\n", flush=True)
    with TemporaryDirectory() as folder, ours(chosen, Path(folder)) as own, theirs(chosen, Path(folder)) as peer:
        clients = {OURS: own, PEER: peer}
        figures = {
            "round trip": measure(chosen, clients, partial(round_trips, chosen.trips)),
            "stream": measure(chosen, clients, partial(streams, chosen.tokens, 1)),
            "together": measure(chosen, clients, partial(streams, chosen.tokens, chosen.chats)),
        }
    missed = [row for row, results in figures.items() if not told(row, results)]
    report(chosen, machine, figures)
    return 1 if missed else 0


def measure(
    options: "argparse.Namespace", clients: Mapping[str, httpx.Client], ask: Callable[[httpx.Client, int], float]
) -> list[dict[str, float]]:
    """Seconds of each side in each pair; the first turn of each is not counted."""
    arms: dict[str, Ask] = {name: partial(ask, client) for name, client in clients.items()}
    for arm in arms.values():
        arm(-1)
    return take_turns(arms, options.pairs)


def told(row: str, results: list[dict[str, float]]) -> bool:
    """Print a row; whether it reaches the target."""
    for name in (OURS, PEER):
        print(f"{row:12} {name:16} {Spread.of([1000 * pair[name] for pair in results]).text(2)} ms")
    ratio = ratios(results, OURS, PEER, float)
    print(f"{row:12} {'ratio':16} {ratio.text(2)}, target at most {TARGET}", flush=True)
    return ratio.median <= TARGET


def round_trips(count: int, client: httpx.Client, pair: int) -> float:
    """The median of the seconds that a request for one token takes; its prompt is in the cache from the second on."""
    body = {"model": "chat", "messages": _messages(pair, 0), "max_tokens": 1, **GREEDY}
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        client.post("/v1/chat/completions", json=body).raise_for_status()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def streams(tokens: int, at_once: int, client: httpx.Client, pair: int) -> float:
    """Seconds per token of so many streams at once, from the request to the end of the last."""
    with ThreadPoolExecutor(at_once) as threads:
        began = time.perf_counter()
        written = list(threads.map(lambda number: stream(client, _messages(pair, number + 1), tokens), range(at_once)))
        return (time.perf_counter() - began) / sum(written)


def stream(client: httpx.Client, messages: list[dict[str, str]], tokens: int) -> int:
    """Read one stream to its end; the tokens that it says it has."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    body = {"model": "chat", "messages": messages, "max_tokens": tokens, **GREEDY, **options}
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        data = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    usage = next(chunk["usage"] for chunk in map(json.loads, reversed(data[:-1])) if chunk.get("usage"))
    return int(usage["completion_tokens"])


def _messages(pair: int, number: int) -> list[dict[str, str]]:
    """A prompt that no other turn has."""
    person = PEOPLE[number % len(PEOPLE)]
    return [{"role": "user", "content": STORY.format(person, 100 + 20 * pair + number)}]


@contextmanager
def theirs(options: "argparse.Namespace", folder: Path) -> Iterator[httpx.Client]:
    """llama-server; its context is shared among the streams."""
    flags = [*peers.flags(options), "--parallel", str(options.chats)]
    with peers.server(flags, folder / "peer.log") as client:
        yield client


@contextmanager
def ours(options: "argparse.Namespace", folder: Path) -> Iterator[httpx.Client]:
    """`phireside serve` with the same settings."""
    engine: dict[str, Any] = {
        "N_CTX": options.n_ctx, "CACHE_TOKENS": options.n_ctx, "N_BATCH": options.n_batch,
        "N_THREADS": options.threads, "N_THREADS_BATCH": options.threads, "N_GPU_LAYERS": options.n_gpu_layers,
        "N_SEQUENCES": options.chats,
    }  # fmt: skip
    settings = {f"PHIRESIDE_ENGINE__{name}": str(value) for name, value in engine.items()}
    environment = {"GOMP_SPINCOUNT": "1000"} | os.environ | settings | {"PHIRESIDE_DATA_DIR": str(folder / "data")}
    log = folder / "own.log"
    command = [sys.executable, "-P", "-c", SERVE, "--port", "0", "--model", str(options.path)]
    with log.open("w") as output, subprocess.Popen(command, env=environment, stderr=output) as process:
        try:
            with httpx.Client(base_url=_address(process, log), timeout=None, trust_env=False) as client:  # noqa: S113
                yield client
        finally:
            process.terminate()


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Where it listens, once it says so."""
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        if found := re.search(r"API is at (http://[0-9.:]+)", log.read_text()):
            return found[1]
        time.sleep(0.1)
    sys.exit(f"phireside serve did not start:\n{log.read_text()[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
