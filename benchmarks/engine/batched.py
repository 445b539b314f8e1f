"""Eight sequences writing, without prompts and HTTP: our engine and llama-batched-bench. Target: 0.95 times.

llama-batched-bench evaluates batches of eight random tokens and chooses nothing; its figure is S_TG at `-npl 8`. Ours
writes eight real texts greedily. Their prompts, as long as the peer's (`-npp`), are in the cache but for the last token
of each, so that every token costs one batch on both sides; the clock runs from sending eight requests to the end of the
last. The peer is a new process each time, as that program measures once.

    python benchmarks/engine/batched.py --model starter
    python benchmarks/engine/batched.py --model /tmp/phi3-shape.gguf --tokens 64
"""

import argparse
import json
import sys
import time
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

import peers
from rows import Comparison, Run, conclude, measure, open_engine, prompt, start

if TYPE_CHECKING:
    from phireside.models.engine import Engine, Event, Request


def main() -> int:
    """Measure in turns; 1 if the median is below the target."""
    options = start(
        __doc__,
        tokens=(128, "tokens that each sequence writes"),
        length=(64, "tokens of each prompt"),
        sequences=(8, "sequences at once"),
    )
    print(peers.offloading(options))
    with open_engine(options, n_sequences=options.sequences) as engine:
        arms = {"engine": partial(ours, engine, options), "llama-batched-bench": partial(peer, options)}
        results = measure(options, arms)
    evaluated = sum(sum(pair["engine"].detail["evaluated"]) for pair in results)
    expected = options.sequences * options.pairs
    problems = [f"{evaluated} prompt tokens were evaluated, not {expected}"] if evaluated != expected else []
    row = f"{options.sequences} sequences, writing only"
    return conclude(options, results, [Comparison(row, "engine", "llama-batched-bench", "tokens/s", 0.95)], problems)


def ours(engine: "Engine", options: argparse.Namespace, _pair: int) -> Run:
    """Let every sequence write, once its prompt has been read."""
    from phireside.models.engine import Request, Sampling

    prompts = [tuple(prompt(engine.vocabulary, 2000 + n, options.length)) for n in range(options.sequences)]
    greedy = Sampling(temperature=0.0)
    at_once(engine, [Request(tokens, greedy, 1) for tokens in prompts])
    return at_once(engine, [Request(tokens, greedy, options.tokens) for tokens in prompts])


def at_once(engine: "Engine", requests: "list[Request]") -> Run:
    """Submit all requests and wait for their ends."""
    from phireside.models.engine import Ended, Failed

    events: SimpleQueue[Event] = SimpleQueue()
    begun = time.perf_counter()
    for request in requests:
        engine.submit(request, events.put)
    ended: list[Ended] = []
    while len(ended) < len(requests):
        event = events.get()
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Ended):
            ended.append(event)
    seconds = time.perf_counter() - begun
    evaluated = [one.usage.evaluated_tokens for one in ended]
    return Run(seconds, sum(one.usage.generated_tokens for one in ended), {"evaluated": evaluated})


def peer(options: argparse.Namespace, _pair: int) -> Run:
    """llama-batched-bench's own figures for one run."""
    sizes = {"-npp": options.length, "-ntg": options.tokens, "-npl": options.sequences}
    arguments = [*peers.flags(options), "--output-format", "jsonl", *(str(x) for pair in sizes.items() for x in pair)]
    output, log = peers.run("llama-batched-bench", arguments)
    lines = [json.loads(line) for line in (output + log).splitlines() if line.startswith("{")]
    return Run(lines[-1]["t_tg"], options.sequences * options.tokens, lines[-1])


if __name__ == "__main__":
    sys.exit(main())
