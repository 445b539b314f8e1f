"""`phireside bench`: how fast a model loads, reads and writes here, and what of that is lost to bare llama.cpp.

Both take turns in one run, each with a load of its own; the one that goes first changes from pair to pair. What counts
is the median of the ratios within pairs. LangChain, templates and pages are not in it: benchmarks/ measures those.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phireside.cli.models import Name
from phireside.cli.output import Json, counting, examples, print_json, print_table, reporting_errors, size_text, tell
from phireside.errors import NotSupportedError
from phireside.settings import EngineSettings, Settings

if TYPE_CHECKING:
    from phireside.models import ModelEntry

EXAMPLES = examples(
    "phireside bench", "phireside bench phi-3 --pairs 1", "PHIRESIDE_ENGINE__N_THREADS=2 phireside bench starter --json"
)
OURS, BARE = "phireside", "llama.cpp"
MEASURES = {"load_s": "Load", "reading": "Read the prompt", "writing": "Write"}
_TEXT = "A keeper of a lighthouse wrote down every evening which ships had come home. "
_BUSY = 25  # per cent of the processor that others may use unmentioned


@dataclass(frozen=True)
class Figures:
    """One turn: seconds to load, tokens per second of reading and of writing (0: it ended at once), tokens of each."""

    load_s: float
    reading: float
    writing: float
    read: int
    written: int


Pair = dict[str, Figures]


@reporting_errors()
def bench(
    name: Name = "auto",
    pairs: Annotated[int, typer.Option(min=1, help="How often each takes its turn.")] = 3,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens to read.")] = 256,
    tokens: Annotated[int, typer.Option(min=2, help="Most tokens to write; fewer if the model ends.")] = 64,
    compare: Annotated[bool, typer.Option(help="Let bare llama.cpp do the same, in turns.")] = True,
    as_json: Json = False,
) -> None:
    """Measure how fast a model loads, reads and writes on this machine, beside bare llama.cpp.

    The engine is loaded as the settings say. Other programs at work make all figures lower.
    """
    settings = Settings()
    model = _resolved(name if name != "auto" else settings.model, settings)
    _tell_busy()
    measured = _measured(model.file, settings.engine, (prompt_tokens, tokens), pairs, compare)
    if as_json:
        print_json(_as_data(model, settings.engine, measured))
    else:
        print_table(("", "Phireside", *((f"bare {BARE}", "ratio") if compare else ())), _rows(measured), headed=compare)
        tell(f"{model.name}, {size_text(model.size)}; median (smallest-greatest) of {pairs}.")


def _resolved(name: str, settings: Settings) -> "ModelEntry":
    """The model, on disk and checked."""
    from phireside.models import Catalog
    from phireside.models.load import is_remote

    if is_remote(name):
        raise NotSupportedError(f"{name} is on a server.", hint="Measure it there, or name a model of this machine.")
    return Catalog(settings).resolve(name)


def _tell_busy() -> None:
    import psutil

    if (busy := psutil.cpu_percent(0.3)) > _BUSY:
        tell(f"Other programs use {busy:.0f} % of the processor: all figures are lower for it.")


def _measured(path: Path, engine: EngineSettings, tokens: tuple[int, int], pairs: int, compare: bool) -> list[Pair]:
    """Everyone's turns, after one that nobody counts: it brings the file into memory and tells how much is written."""
    warm = _ours(path, engine, *tokens)
    arms: dict[str, Callable[[], Figures]] = {OURS: lambda: _ours(path, engine, *tokens)}
    if compare:
        arms[BARE] = lambda: _bare(path, engine, warm.read, warm.written)
    show, result = counting("pairs"), []
    for number in range(pairs):
        names = list(arms) if number % 2 == 0 else list(reversed(arms))
        result.append({name: arms[name]() for name in names})
        show(number + 1, pairs)
    return result


def _ours(path: Path, settings: EngineSettings, prompt: int, tokens: int) -> Figures:
    from phireside.models import Engine
    from phireside.models.speed import measure

    begun = time.perf_counter()
    with Engine(path, settings) as engine:
        engine.load()
        loaded = time.perf_counter() - begun
        speed = measure(engine, prompt, tokens)
    return Figures(loaded, speed.reading, speed.writing, speed.read_tokens, speed.written_tokens)


def _bare(path: Path, settings: EngineSettings, prompt: int, tokens: int) -> Figures:
    """The same by llama.cpp alone: as many tokens, the same threads and batch, a context for one."""
    from phireside.models import Engine
    from phireside.models.engine.bare import Bare

    with Engine(path, settings) as engine:  # only its vocabulary is read
        text, n_ctx, threads = engine.vocabulary.tokenize(_TEXT, markers=False), engine.n_ctx, engine.threads
    begun = time.perf_counter()
    with Bare(path, settings, n_ctx, threads) as model:
        loaded = time.perf_counter() - begun
        more = max(0, tokens - 1)  # the first belongs to the prompt, as in the engine's own figures
        reading = time.perf_counter()
        model.read((text * (1 + prompt // len(text)))[:prompt])
        writing = time.perf_counter()
        model.write(more)
        ended = time.perf_counter()
    written = more / (ended - writing) if more else 0.0
    return Figures(loaded, prompt / (writing - reading), written, prompt, tokens)


def _rows(measured: Sequence[Pair]) -> list[tuple[str, ...]]:
    def row(measure: str, title: str) -> tuple[str, ...]:
        values = {name: [getattr(pair[name], measure) for pair in measured] for name in measured[0]}
        unit = "s" if measure == "load_s" else "tokens/s"
        cells = [f"{_spread(values[name], 2 if unit == 's' else 1)} {unit}" for name in (OURS, BARE) if name in values]
        ratios = _ratios(measured, measure)
        return (title, *cells, *([_spread(ratios, 2) if ratios else "-"] if BARE in values else []))

    return [row(measure, title) for measure, title in MEASURES.items()]


def _spread(values: Sequence[float], digits: int) -> str:
    low, high = min(values), max(values)
    range_ = f" ({low:.{digits}f}-{high:.{digits}f})" if len(values) > 1 else ""
    return f"{statistics.median(values):.{digits}f}{range_}"


def _ratios(measured: Sequence[Pair], measure: str) -> list[float]:
    """Ours divided by llama.cpp's, within each pair."""
    both = [(getattr(pair[OURS], measure), getattr(pair[BARE], measure)) for pair in measured if BARE in pair]
    return [ours / bare for ours, bare in both if bare]


def _as_data(model: "ModelEntry", settings: EngineSettings, measured: Sequence[Pair]) -> Mapping[str, Any]:
    from phireside.models.engine import build_info
    from phireside.models.engine.machine import choose_threads

    writing, reading = choose_threads(settings)
    ratios = {measure: _ratios(measured, measure) for measure in MEASURES}
    return {
        "model": model.name,
        "file": str(model.path),
        "llama_cpp": build_info().version,
        "gpu": build_info().gpu,
        "threads": {"writing": writing, "reading": reading},
        "median": {each: statistics.median(getattr(pair[OURS], each) for pair in measured) for each in MEASURES},
        "ratio": {measure: statistics.median(values) if values else None for measure, values in ratios.items()},
        "pairs": [{name: asdict(figures) for name, figures in pair.items()} for pair in measured],
    }
