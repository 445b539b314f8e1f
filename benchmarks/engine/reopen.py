"""The first token of a reopened 3,000-token conversation: its state from disk, and evaluated again. Target: 20 times on
SmolLM2, 100 on the Phi-3 shape.

The conversation is read once with `keep`, which leaves its state on disk, and the engine is closed. Then, each time in
a new engine with the model loaded, a question of some tokens is put after it: with the state's file in the page cache
(warm), with the file dropped from this system's page cache (cold; Linux's `posix_fadvise`; a host below a virtual
machine may still hold it), and with no such file. Seconds from asking to the first token. `--peer-tokens N` evaluates
only the last N tokens again and scales the time; the row's name then says so.

    python benchmarks/engine/reopen.py --model starter --target 20
    python benchmarks/engine/reopen.py --model /tmp/phi3-shape.gguf --target 100
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rows import Comparison, Run, conclude, measure, open_engine, prompt, start

if TYPE_CHECKING:
    from phireside.models.engine import Engine

NAME = "benchmark"


def main() -> int:
    """Measure in turns; 1 if a median is below the target or the state did not come from disk."""
    options = start(
        __doc__,
        n_ctx=3328,
        length=(3000, "tokens of the conversation"),
        target=(20, "times faster than evaluating it again"),
        peer_tokens=(0, "evaluate only so many again and scale; 0 = all"),
    )
    with TemporaryDirectory(prefix="kv-") as name:
        folder = Path(name)
        with open_engine(options, folder) as engine:
            conversation = prompt(engine.vocabulary, 7000, options.length)
            first_token(engine, conversation)
        kept = [path for path in folder.rglob("*") if path.is_file()]
        print(f"on disk: {sum(path.stat().st_size for path in kept) / 1e6:,.1f} MB for {options.length} tokens")
        arms = {
            "reopened, page cache warm": partial(reopened, options, conversation, folder, False),
            "reopened, page cache cold": partial(reopened, options, conversation, folder, True),
            "evaluated again": partial(again, options, conversation),
        }
        results = measure(options, arms)
    peer = "evaluated again"
    lost = [n for pair in results for n, run in pair.items() if n != peer and run.tokens < 0.99 * options.length]
    problems = [f"{len(lost)} times the state did not come from disk"] if lost else []
    scaled = f" (scaled from {options.peer_tokens} tokens)" if options.peer_tokens else ""
    comparisons = [
        Comparison(f"{name}{scaled}", name, peer, "s", float(options.target)) for name in arms if name != peer
    ]
    return conclude(options, results, comparisons, problems)


def reopened(options: argparse.Namespace, conversation: Sequence[int], folder: Path, cold: bool, pair: int) -> Run:
    """A new engine that finds the state on disk."""
    with open_engine(options, folder) as engine:
        tokens = [*conversation, *question(engine, pair)]
        for path in folder.rglob("*"):
            if path.is_file():
                prepare(path, cold)
        return first_token(engine, tokens)


def prepare(path: Path, cold: bool) -> None:
    """Put a file into the page cache, or drop it from there (its pages are written to the disk first)."""
    with path.open("rb") as file:
        if cold:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while file.read(1 << 24):
                pass


def again(options: argparse.Namespace, conversation: Sequence[int], pair: int) -> Run:
    """A new engine that knows nothing."""
    part = list(conversation[-options.peer_tokens :])
    with open_engine(options) as engine:
        tokens = [*part, *question(engine, pair)]
        run = first_token(engine, tokens)
    return Run(run.seconds * (len(conversation) + len(tokens) - len(part)) / len(tokens), run.tokens)


def question(engine: "Engine", pair: int) -> list[int]:
    """What is asked after the conversation: some tokens, different in each pair."""
    return engine.vocabulary.tokenize(f"\nAnd in {1900 + pair}? What happened then?", markers=False)


def first_token(engine: "Engine", tokens: Sequence[int]) -> Run:
    """Seconds to the first token, and how many tokens came from disk."""
    from phireside.models.engine import Request, Sampling

    answer = engine.complete(Request(tuple(tokens), Sampling(temperature=0.0), 1, keep=NAME))
    for _ in answer:
        pass
    assert answer.usage
    return Run(answer.usage.time_to_first_token_s, answer.usage.restored_tokens)


if __name__ == "__main__":
    sys.exit(main())
