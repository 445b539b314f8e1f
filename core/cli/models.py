"""`phireside models`: list, pull, path, info, accept. Prints what the catalogue says; decides nothing itself."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phireside.cli.complete import model_names
from phireside.cli.output import (
    Json,
    examples,
    on_terminal,
    print_json,
    print_table,
    reporting_errors,
    size_text,
    tell,
)
from phireside.settings import Settings

if TYPE_CHECKING:
    from phireside.models.catalog import Catalog, ModelEntry, ModelInfo
    from phireside.models.info import MemoryNeed

app = typer.Typer(help="The models: which there are, download one, what one needs.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        help="A name from `models list`, hf:owner/repo/file.gguf, or a path to a .gguf.", autocompletion=model_names
    ),
]

_TEMPLATE_LINES, _TEMPLATE_WIDTH = 4, 160


@app.command("list", epilog=examples("phireside models list", "phireside models list --json"))
@reporting_errors()
def list_models(as_json: Json = False) -> None:
    """Show the known models, the downloaded ones, and those of other programs on this machine."""
    catalog = _catalog()
    entries = catalog.entries()
    if as_json:
        print_json([_entry_json(entry) for entry in entries])
        return
    rows = [(entry.name, _state(entry), size_text(entry.size), entry.description) for entry in entries]
    print_table(("Name", "State", "Size", "Description"), rows)
    tell(f"The default, auto, is now {catalog.find('auto').name}. {catalog.advice()}".rstrip())


@app.command(epilog=examples("phireside models pull phi-3", "phireside models pull hf:owner/repo/file.gguf"))
@reporting_errors()
def pull(name: Name = "phi-3") -> None:
    """Download a model; goes on where an earlier download broke off."""
    catalog = _catalog()
    try:
        with _progress() as progress:
            entry = catalog.pull(name, progress)
    except KeyboardInterrupt:
        _tell_what_is_kept(catalog, name)
        raise typer.Exit(130) from None
    tell(f"{entry.name} is on disk and checked.")
    _print_path(entry)


@app.command(epilog=examples("phireside models path starter"))
@reporting_errors()
def path(name: Name = "auto") -> None:
    """Check a model's file and print its path."""
    _print_path(_catalog().resolve(name))


@app.command(epilog=examples("phireside models info starter", "phireside models info ./mine.gguf --n-ctx 4096 --json"))
@reporting_errors()
def info(
    name: Name = "auto",
    n_ctx: Annotated[int | None, typer.Option(help="Tokens one conversation may hold; 0 = the model's own.")] = None,
    n_gpu_layers: Annotated[int | None, typer.Option(help="Layers to put on the GPU; -1 = all.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a model is, and whether it fits into memory."""
    from phireside.models.fit import needs

    settings = _settings(n_ctx=n_ctx, n_gpu_layers=n_gpu_layers)
    catalog = _catalog(settings)
    entry = catalog.find(name)
    if entry.path is None and (need := needs(entry, settings.engine)):  # of this one it is known beforehand
        data, rows = _absent(entry, need[0])
    else:
        about = catalog.info(name)
        data, rows = _info_json(about), _info_rows(about)
    if as_json:
        print_json(data)
    else:
        print_table(("", ""), rows)


@app.command(epilog=examples("phireside models accept ./mine.gguf"))
@reporting_errors()
def accept(path: Annotated[str, typer.Argument(help="The file, or the model's name.")]) -> None:
    """Take a model file that you replaced on purpose for the right one."""
    entry = _catalog().accept(path)
    tell(f"{entry.path} is accepted, with sha256 {entry.sha256}.")


def check_model(name: str, settings: Settings) -> None:
    """Find out that a model is here before anything is loaded, searched or served; one on a server is not asked.

    Raises:
        ModelError: it is not here, or damaged.
    """
    from phireside.models.catalog import Catalog
    from phireside.models.load import is_remote

    if not is_remote(name):
        Catalog(settings).resolve(name)


def _catalog(settings: Settings | None = None) -> "Catalog":
    from phireside.models.catalog import Catalog

    return Catalog(settings or Settings())


def _settings(**engine: int | None) -> Settings:
    given = {key: value for key, value in engine.items() if value is not None}
    return Settings(engine=given) if given else Settings()


def _print_path(entry: "ModelEntry") -> None:
    """The path as it is, for a script; file names are bytes, and not every one is text."""
    if entry.path:
        typer.echo(os.fsencode(entry.path))


def _state(entry: "ModelEntry") -> str:
    if entry.problem:
        return f"damaged: {entry.problem}"
    return "on disk" if entry.path else "not downloaded"


def _entry_json(entry: "ModelEntry") -> dict[str, Any]:
    return {**asdict(entry), "path": entry.path and str(entry.path), "state": _state(entry)}


def _absent(entry: "ModelEntry", need: "MemoryNeed") -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What is known of a model before it is downloaded, as data and as rows."""
    command = f"phireside models pull {entry.name}"
    data = {
        "name": entry.name, "description": entry.description, "path": None, "size": need.weights,
        "memory": _memory_json(need), "download": command,
    }  # fmt: skip
    rows = [
        ("Name", f"{entry.name} ({entry.description})"),
        ("File", f"not on this machine; about {size_text(need.weights)}"),
        *_memory_rows(need),
        ("Download", command),
    ]
    return data, rows


def _info_json(about: "ModelInfo") -> dict[str, Any]:
    return {**asdict(about), "path": str(about.path), "memory": _memory_json(about.memory)}


def _memory_json(memory: "MemoryNeed") -> dict[str, Any]:
    return {**asdict(memory), "total": memory.total, "fits": memory.fits}


def _info_rows(about: "ModelInfo") -> list[tuple[str, str]]:
    return [
        ("Name", f"{about.name} ({about.title})" if about.title else about.name),
        ("File", f"{about.path}, {size_text(about.size)}"),
        ("Architecture", about.architecture),
        ("Parameters", f"{about.parameters / 1e6:,.0f} million"),
        ("Quantization", about.quantization),
        ("Trained context", _count(about.trained_context, "tokens")),
        ("Vocabulary", _count(about.vocabulary, "tokens")),
        ("Layers", f"{_count(about.layers)}, embedding {_count(about.embedding)}"),
        ("Heads", f"{_count(about.heads)}, of these {_count(about.kv_heads)} for keys and values"),
        ("Chat template", _template(about.chat_template)),
        *_memory_rows(about.memory),
    ]


def _memory_rows(memory: "MemoryNeed") -> list[tuple[str, str]]:
    beside = size_text(memory.total - memory.gpu)
    return [
        ("Context", f"{memory.n_ctx:,} tokens, cache of {memory.cells:,}"),
        (
            "Memory",
            f"weights {size_text(memory.weights)} + KV cache {size_text(memory.kv_cache)} + working buffer about "
            f"{size_text(memory.compute)} = {size_text(memory.total)}",
        ),
        (
            "Fits",
            f"{'yes' if memory.fits else 'NO'}: {size_text(memory.total)} of {size_text(memory.free)} free memory",
        ),
        ("With a GPU", f"{size_text(memory.gpu)} of it go there, if llama.cpp was built for one; {beside} stay here"),
    ]


def _count(number: int | None, unit: str = "") -> str:
    return "not said" if number is None else f"{number:,} {unit}".rstrip()


def _template(template: str | None) -> str:
    if not template:
        return "none: this file cannot say how a chat is written for it"
    lines = template.splitlines()
    more = f"\n… ({len(lines)} lines)" if len(lines) > _TEMPLATE_LINES else ""
    return "\n".join(line[:_TEMPLATE_WIDTH] for line in lines[:_TEMPLATE_LINES]) + more


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Shows how far a download is, on stderr: a bar on a terminal, else a line at each tenth."""
    if not on_terminal(sys.stderr):
        yield _tenths()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tenths() -> Callable[[int, int], None]:
    shown = -1

    def show(done: int, total: int) -> None:
        nonlocal shown
        if done * 10 // total > shown:
            shown = done * 10 // total
            tell(f"{size_text(done)} of {size_text(total)}")

    return show


def _tell_what_is_kept(catalog: "Catalog", name: str) -> None:
    from phireside.models.download import part_bytes

    hub = catalog.find(name).hub
    kept = part_bytes(catalog.pull_target(hub)) if hub else 0
    tell(f"Stopped. {size_text(kept)} are kept; `phireside models pull {name}` goes on from there.")
