"""How fast llama.cpp reads and writes with 1 to n threads, alone and beside one busy process.

It backs the default number of threads: a thread that has to wait for a core holds up all the others at every layer, so
with a busy neighbour one thread fewer than cores can be several times faster. No peer: llama.cpp itself is measured.

    python benchmarks/threads.py --model starter
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from common import Machine, Spread, parse, parser, report, settings, take_turns

if TYPE_CHECKING:
    from phireside.models.engine.bare import Bare

TEXT = "The little harbour town wakes early, and the first boats come home before the sun is up. "


@dataclass(frozen=True)
class Rates:
    """Tokens per second."""

    read: float
    write: float


def main() -> None:
    """Measure every number of threads in turn, and print the medians."""
    options = parser(__doc__, n_ctx=1024)
    options.add_argument("--most", type=int, default=0, help="most threads tried; 0 = --threads")
    options.add_argument("--prompt", type=int, default=256, help="tokens read (default: 256)")
    options.add_argument("--tokens", type=int, default=64, help="tokens written (default: 64)")
    options = parse(options)
    machine = Machine.now()
    print(machine, f"model:   {options.path.name}", sep="\n")
    from phireside.models.engine.bare import Bare
    from phireside.models.engine.vocabulary import Vocabulary

    text = Vocabulary(options.path).tokenize(TEXT, markers=False)
    prompt = (text * options.prompt)[: options.prompt]
    engine, figures = settings(options).engine, {}
    with Bare(options.path, engine, options.n_ctx, (options.threads, options.threads)) as model:
        for neighbours in (0, 1):
            with busy(neighbours):
                counts = range(1, (options.most or options.threads) + 1)
                arms = {f"{n} threads": partial(rates, model, n, prompt, options.tokens) for n in counts}
                figures["beside a busy process" if neighbours else "alone"] = take_turns(arms, options.pairs)
    for situation, results in figures.items():
        print(f"\n{situation:24} {'read tokens/s':>24} {'write tokens/s':>24}")
        for name in results[0]:
            read, write = (Spread.of([getattr(pair[name], kind) for pair in results]) for kind in ("read", "write"))
            print(f"{name:24} {read.text():>24} {write.text():>24}")
    report(options, machine, figures)


def rates(model: "Bare", threads: int, prompt: list[int], count: int, _pair: int) -> Rates:
    """Read a prompt and write an answer with that many threads."""
    model.use_threads(threads)
    start = time.perf_counter()
    model.read(prompt)
    middle = time.perf_counter()
    model.write(count)
    end = time.perf_counter()
    return Rates(read=len(prompt) / (middle - start), write=count / (end - middle))


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep `count` processes computing meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
