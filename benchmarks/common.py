"""What every benchmark shares: its options, the machine it ran on, and pairs measured in alternating order.

Two programs are never compared from one run each: they take turns, the one that goes first changes from pair to pair,
and what counts is the median of the ratios within pairs, printed with the smallest and the greatest. Knows nothing of
models but how to find their file.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

if TYPE_CHECKING:
    from phireside.settings import Settings

T = TypeVar("T")

PACKAGES = ("phireside", "llama-cpp-python", "langchain-core", "langchain-community", "langchain-classic")


def parser(doc: str, *, pairs: int = 5, n_ctx: int = 4096) -> argparse.ArgumentParser:
    """An argument parser with the options that all benchmarks share.

    Args:
        doc: the benchmark's module docstring, shown by `--help`.
        pairs: default of `--pairs`.
        n_ctx: default of `--n-ctx`.
    """
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="starter", help="catalogue name or path to a .gguf (default: starter)")
    options.add_argument("--threads", type=int, default=0, help="for everyone compared; 0 = all physical cores")
    options.add_argument("--pairs", type=int, default=pairs, help=f"how often everyone takes a turn (default: {pairs})")
    options.add_argument("--n-ctx", type=int, default=n_ctx, help=f"context in tokens (default: {n_ctx})")
    options.add_argument("--n-batch", type=int, default=256, help="most tokens evaluated at once (default: 256)")
    options.add_argument("--json", type=Path, help="write machine, options and all single figures to this file")
    return options


def parse(options: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; `threads` becomes a number of threads and `path` the model's file.

    Ends the program with a message if the model is not on this machine.
    """
    chosen = options.parse_args(arguments)
    chosen.threads = chosen.threads or physical_cores()
    chosen.path = model_path(chosen.model)
    return chosen


def model_path(name: str) -> Path:
    """The file of a catalogue name or path, verified by the catalogue. Ends the program if there is none."""
    from phireside.errors import PhiresideError  # after --help has answered
    from phireside.models import Catalog
    from phireside.settings import Settings

    try:
        path = Catalog(Settings()).resolve(name).path
    except PhiresideError as error:
        sys.exit(str(error))
    assert path is not None  # what `resolve` promises
    return path


def settings(options: argparse.Namespace) -> "Settings":
    """The person's settings, with the engine's replaced by the common options: a cache as large as the peers'."""
    from phireside.settings import EngineSettings, Settings

    engine = EngineSettings(
        n_ctx=options.n_ctx,
        cache_tokens=options.n_ctx,
        n_batch=options.n_batch,
        n_threads=options.threads,
        n_threads_batch=options.threads,
    )
    return Settings(engine=engine)


def physical_cores() -> int:
    """Cores without hyper-threads, as far as the system tells."""
    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


@dataclass(frozen=True)
class Spread:
    """The median of some figures, with the smallest and the greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one figure."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 1) -> str:
        """As printed: median (smallest-greatest)."""
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}-{self.high:,.{digits}f})"


def take_turns(arms: Mapping[str, Callable[[int], T]], pairs: int) -> list[dict[str, T]]:
    """Run every arm once per pair; each pair starts with the arm that came second in the pair before.

    Args:
        arms: name to function; the function gets the pair's number, from 0.
        pairs: how often everyone runs.

    Returns:
        One mapping from name to result per pair.
    """
    names = list(arms)
    results = []
    for pair in range(pairs):
        first = pair % len(names)
        results.append({name: arms[name](pair) for name in names[first:] + names[:first]})
    return results


def ratios(results: Sequence[Mapping[str, T]], ours: str, peer: str, figure: Callable[[T], float]) -> Spread:
    """The spread over pairs of `figure(ours) / figure(peer)`, each taken within its pair."""
    return Spread.of([figure(pair[ours]) / figure(pair[peer]) for pair in results])


@dataclass(frozen=True)
class Machine:
    """What a figure depends on beside the program."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    versions: dict[str, str]
    load: float
    busy: list[str]

    @classmethod
    def now(cls) -> "Machine":
        """This machine, its load average over the last minute, and the processes that are busy at this moment."""
        return cls(
            cpu=_cpu_name(),
            cores=physical_cores(),
            memory_gb=round(psutil.virtual_memory().total / 2**30, 1),
            system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
            versions={name: version for name in PACKAGES if (version := _version(name))},
            load=round(psutil.getloadavg()[0], 2),
            busy=_busy_processes(),
        )

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        lines = [
            f"machine: {self.cpu}, {self.cores} cores, {self.memory_gb} GiB; {self.system}",
            f"         {versions}; load average {self.load}",
        ]
        if self.busy:
            lines.append(f"WARNING: something else is running, these figures are not fit to report: {self.busy}")
        return "\n".join(lines)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _busy_processes(seconds: float = 0.5, percent: float = 20.0) -> list[str]:
    """Other processes that use more than `percent` of one core, measured over `seconds`."""
    others = [process for process in psutil.process_iter(["name"]) if process.pid != os.getpid()]
    for process in others:
        _cpu_percent(process)
    psutil.cpu_percent(interval=seconds)
    used = [(process, _cpu_percent(process)) for process in others]
    return [f"{one.info['name']} (pid {one.pid}, {share:.0f} %)" for one, share in used if share > percent]


def _cpu_percent(process: psutil.Process) -> float:
    try:
        return process.cpu_percent()
    except psutil.Error:  # it ended, or it is not ours to look at
        return 0.0


def report(options: argparse.Namespace, machine: Machine, figures: Mapping[str, Any]) -> None:
    """Write everything measured to `--json`, if it was asked for."""
    if options.json:
        chosen = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
        content = {"machine": asdict(machine), "options": chosen, "figures": figures}
        options.json.write_text(json.dumps(content, indent=2, default=asdict) + "\n")
