"""What the rows of the engine's table share: options, prompts, both sides opened alike, and how a row is concluded.

Each row is one file, and each of its comparisons ends in one line `RESULT {json}`, which `run_all.py` collects. Ratios
say how many times better ours is: tokens per second divided by the peer's, or the peer's seconds (or tokens evaluated)
by ours; they are taken within pairs (benchmarks/common.py). Knows nothing of what a row does.
"""

import argparse
import functools
import json
import logging
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

sys.path.append(str(Path(__file__).parents[1]))  # common.py and chat_turns.py; this folder itself is there already

from common import Machine, Spread, parse, parser, ratios, report, settings, take_turns

if TYPE_CHECKING:
    from phireside.models.engine import Engine, Request, Vocabulary

Unit = Literal["tokens/s", "s", "tokens"]
MARK = "RESULT "
SUBJECTS = ("the keeper", "an old fisherman", "the baker", "a tired clerk", "the youngest sailor", "her grey dog")
DEEDS = ("carried bread to", "drew a map of", "forgot a coat in", "counted the lamps of", "wrote about", "walked past")
PLACES = ("the harbour", "a locked boathouse", "the market", "the northern mole", "a quiet inn", "the signal tower")


@dataclass(frozen=True)
class Run:
    """One turn of one side: its seconds, the tokens it wrote (or evaluated), and what its checks need."""

    seconds: float
    tokens: int
    detail: Any = None

    def figure(self, unit: Unit) -> float:
        """What is compared."""
        return {"tokens/s": self.tokens / self.seconds, "s": self.seconds, "tokens": self.tokens}[unit]


@dataclass(frozen=True)
class Comparison:
    """One line of the table: two arms, what of them is compared, and how many times better ours must be."""

    row: str
    ours: str
    peer: str
    unit: Unit
    target: float
    optional: bool = False  # a feature that stays off where it does not reach its target: no failure


def start(doc: str, *, n_ctx: int = 4096, **numbers: tuple[int, str]) -> argparse.Namespace:
    """Read the command line and print machine, model and offloaded layers.

    Args:
        doc: the row's module docstring.
        n_ctx: default of `--n-ctx`.
        numbers: the row's own whole-number options: name to default and help.
    """
    options = parser(doc, n_ctx=n_ctx)
    options.add_argument("--n-gpu-layers", type=int, default=-1, help="on both sides; -1 = all (default)")
    for name, (default, text) in numbers.items():
        options.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"{text} ({default})")
    chosen = parse(options)
    chosen.machine = Machine.now()
    print(chosen.machine, f"model:   {chosen.path.name}", sep="\n", flush=True)
    return chosen


def open_engine(options: argparse.Namespace, kv_folder: Path | None = None, **overrides: Any) -> "Engine":
    """Our engine, loaded, with the common options and what else is said; a context manager."""
    from phireside.models.engine import Engine, build_info

    llama_log = logging.getLogger("phireside.llama")
    llama_log.setLevel(logging.DEBUG)
    llama_log.addFilter(_print_offloading)
    chosen = settings(options).engine.model_copy(update={"n_gpu_layers": options.n_gpu_layers, **overrides})
    engine = Engine(options.path, chosen, kv_folder) if kv_folder else Engine(options.path, chosen)
    engine.load()
    if not build_info().gpu:
        say("layers:  none on a GPU: llama-cpp-python was built without one")
    return engine


def open_llama(options: argparse.Namespace, **overrides: Any) -> Any:
    """A `llama_cpp.Llama` with the same options."""
    from llama_cpp import Llama

    return Llama(str(options.path), **llama_options(options), **overrides)


def llama_options(options: argparse.Namespace) -> dict[str, Any]:
    """The common options by `llama_cpp.Llama`'s names."""
    return {
        "n_ctx": options.n_ctx,
        "n_threads": options.threads,
        "n_threads_batch": options.threads,
        "n_batch": options.n_batch,
        "n_gpu_layers": options.n_gpu_layers,
        "flash_attn": True,
        "verbose": False,
    }


def _print_offloading(record: logging.LogRecord) -> bool:
    """A build for a GPU says `offloaded 33/33 layers to GPU`; a `Llama` in this process logs here, too."""
    if "offloaded" in record.getMessage():
        say(f"layers:  {record.getMessage()}")
    return False  # the rest is not for a benchmark's output


@functools.cache
def say(line: str) -> None:
    """Print a line, but not twice."""
    print(line, flush=True)


def prose(number: int, sentences: int) -> str:
    """Made-up text that begins with its number, so that no cache knows two of them."""
    chance = random.Random(number)
    parts = [f"{number}."]
    for _ in range(sentences):
        subject, deed, place = chance.choice(SUBJECTS), chance.choice(DEEDS), chance.choice(PLACES)
        parts.append(f"{subject.capitalize()} {deed} {place} {chance.randrange(2, 99)} times.")
    return " ".join(parts)


def prompt(vocabulary: "Vocabulary", number: int, length: int) -> list[int]:
    """Exactly `length` tokens of `prose(number)`, with a begin-of-text token where the model wants one."""
    head = [vocabulary.bos] if vocabulary.adds_bos else []
    return (head + vocabulary.tokenize(prose(number, length), markers=False))[:length]


def text(vocabulary: "Vocabulary", tokens: Sequence[int]) -> str:
    """The text of some tokens, without control tokens and a space in front."""
    return b"".join(map(vocabulary.piece, tokens)).decode("utf-8", "replace").lstrip()


def chat_prompt(engine: "Engine", message: str) -> list[int]:
    """The tokens of a user's message in the model's own chat template."""
    from phireside.models.encoding import PromptEncoder
    from phireside.models.templates import ChatTemplate

    vocabulary = engine.vocabulary
    bos, eos = vocabulary.text(vocabulary.bos), vocabulary.text(vocabulary.eos)
    encoder = PromptEncoder(vocabulary, ChatTemplate(vocabulary.chat_template, bos=bos, eos=eos))
    return encoder.encode(encoder.render([{"role": "user", "content": message}]))


def write(engine: "Engine", request: "Request") -> Run:
    """Answer a request whose prompt is in the cache already, but for its last token."""
    from dataclasses import replace

    for _ in engine.complete(replace(request, max_tokens=1, grammar=None)):
        pass
    start = time.perf_counter()
    answer = engine.complete(request)
    written = "".join(answer)
    assert answer.usage
    return Run(time.perf_counter() - start, answer.usage.generated_tokens, written)


def measure(
    options: argparse.Namespace, arms: Mapping[str, Callable[[int], Run]], *, warm: bool = False
) -> list[dict[str, Run]]:
    """Let everyone take turns, `--pairs` times; with `warm`, once before, uncounted, as pair -1."""
    if warm:
        take_turns({name: lambda _, arm=arm: arm(-1) for name, arm in arms.items()}, 1)
    return take_turns(arms, options.pairs)


def conclude(
    options: argparse.Namespace,
    results: Sequence[Mapping[str, Run]],
    comparisons: Sequence[Comparison],
    problems: Sequence[str] = (),
) -> int:
    """Print medians, problems and one RESULT line per comparison; 1 if a target was missed or there is a problem."""
    for line in problems:
        print(f"PROBLEM: {line}")
    found = [_result(options, results, one, bool(problems)) for one in comparisons]
    report(options, options.machine, {"results": found, "runs": results})
    for one in found:
        print(MARK + json.dumps(one), flush=True)
    return int(bool(problems) or any(not one["met"] and not one["optional"] for one in found))


def _result(
    options: argparse.Namespace, results: Sequence[Mapping[str, Run]], one: Comparison, wrong: bool
) -> dict[str, Any]:
    ours, peer = (Spread.of([pair[arm].figure(one.unit) for pair in results]) for arm in (one.ours, one.peer))
    better = (one.ours, one.peer) if one.unit == "tokens/s" else (one.peer, one.ours)
    ratio = ratios(results, *better, lambda run: run.figure(one.unit))
    for name, spread in ((one.ours, ours), (one.peer, peer)):
        print(f"{name:32} {spread.text(2):>28} {one.unit}")
    met = ratio.median >= one.target and not wrong
    verdict = "met" if met else "stays off" if one.optional else "MISSED"
    print(f"{one.row:32} {ratio.text(2):>28} times better; target {one.target:g}: {verdict}")
    return asdict(one) | {
        "model": options.path.stem,
        "threads": options.threads,
        "pairs": len(results),
        "quiet": not options.machine.busy,
        "ours": asdict(ours) | {"name": one.ours},
        "peer": asdict(peer) | {"name": one.peer},
        "ratio": asdict(ratio),
        "met": met,
    }
