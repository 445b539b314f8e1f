"""Eight chats at once: tokens per second of our engine and of `llama-server -np 8`. Target: at least 1.0 times.

Eight threads each send one prompt at the same moment; the clock runs from there to the last token of the slowest, so
that reading the prompts, queueing and (for the server) HTTP on this machine count. Both get the same tokens, write
greedily with the leanest sampler chain, and have the same threads, context and batch size; waiting threads spin equally
long (`GOMP_SPINCOUNT`, 1000 unless the environment says otherwise). No prompt begins like another, and the server's
caches are off, so that nothing is reused on either side. Tokens are counted as written; both stop where the model
ends, and as both write greedily that is mostly at the same token.

    python benchmarks/engine/chats.py --model starter
    python benchmarks/engine/chats.py --model /tmp/phi3-shape.gguf
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import peers
from rows import Comparison, Run, conclude, measure, open_engine, prompt, start

if TYPE_CHECKING:
    import httpx

    from phireside.models.engine import Engine

Prompt = Sequence[int]


def main() -> int:
    """Measure in turns; 1 if the median is below the target."""
    options = start(
        __doc__,
        tokens=(128, "tokens that each chat writes"),
        length=(64, "tokens of each prompt"),
        chats=(8, "chats at once"),
    )
    if options.chats * (options.length + options.tokens) > options.n_ctx:
        sys.exit(f"{options.chats} chats of {options.length} + {options.tokens} tokens need a greater --n-ctx.")
    print(peers.offloading(options))
    served = [*peers.flags(options), "--parallel", str(options.chats), "--cache-ram", "0"]
    with (
        TemporaryDirectory() as folder,
        open_engine(options, n_sequences=options.chats) as engine,
        peers.server(served, Path(folder) / "log") as client,
    ):

        def together(ask: Callable[[Prompt, int], int], pair: int) -> Run:
            numbers = range(1000 + pair * options.chats, 1000 + (pair + 1) * options.chats)
            return at_once(ask, [prompt(engine.vocabulary, n, options.length) for n in numbers], options.tokens)

        asks = {"engine": partial(ask_engine, engine), "llama-server": partial(ask_server, client)}
        arms = {name: partial(together, ask) for name, ask in asks.items()}
        results = measure(options, arms, warm=True)
    for name in arms:
        print(f"{name:32} wrote {[pair[name].tokens for pair in results]} of {options.chats * options.tokens} tokens")
    row = f"{options.chats} chats at once"
    return conclude(options, results, [Comparison(row, "engine", "llama-server", "tokens/s", 1.0)])


def at_once(ask: Callable[[Prompt, int], int], prompts: Sequence[Prompt], count: int) -> Run:
    """Send every prompt from a thread of its own; tokens written by all, and seconds until the last one is done."""
    with ThreadPoolExecutor(len(prompts)) as threads:
        begun = time.perf_counter()
        written = list(threads.map(lambda tokens: ask(tokens, count), prompts))
        return Run(time.perf_counter() - begun, sum(written), written)


def ask_engine(engine: "Engine", tokens: Prompt, count: int) -> int:
    """Stream one answer of ours; how many tokens it has."""
    from phireside.models.engine import Request, Sampling

    answer = engine.complete(Request(tuple(tokens), Sampling(temperature=0.0), count))
    for _ in answer:
        pass
    assert answer.usage
    return answer.usage.generated_tokens


def ask_server(client: "httpx.Client", tokens: Prompt, count: int) -> int:
    """Stream one answer of the server; how many tokens it says it has."""
    body = {
        "prompt": list(tokens),
        "n_predict": count,
        "samplers": ["top_k"],
        "top_k": 1,
        "temperature": 0.0,
        "cache_prompt": False,
        "stream": True,
    }
    with client.stream("POST", "/completion", json=body) as response:
        response.raise_for_status()
        events = [json.loads(line[5:]) for line in response.iter_lines() if line.startswith("data:")]
    return int(events[-1]["tokens_predicted"])


if __name__ == "__main__":
    sys.exit(main())
