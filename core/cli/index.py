"""`phireside index`: files, folders and web pages into a base of documents, and what is in it. Decides nothing itself.

Results go to stdout; progress goes to stderr.
"""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phireside.cli.output import plain, reporting_errors, tell
from phireside.errors import KnowledgeError, PhiresideError
from phireside.settings import Settings

if TYPE_CHECKING:
    from phireside.retrieval import Chunking, KnowledgeBase, Report

_WEB = ("http://", "https://")
_SOURCE_WIDTH = 60
_COUNTS = ("added", "changed", "unchanged", "removed")


@reporting_errors()
def index(
    paths: Annotated[list[str] | None, typer.Argument(help="Files, folders, or addresses of web pages.")] = None,
    base: Annotated[str, typer.Option("--base", "-b", help="The base; created when it is missing.")] = "documents",
    preview: Annotated[bool, typer.Option("--preview", help="Show the chunks; add nothing.")] = False,
    chunking: Annotated[
        str,
        typer.Option(help="sentences, paragraphs, tokens or headings; with size and overlap: headings:200:32."),
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="Show the base's documents; with --all, the bases.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="With --list: all bases.")] = False,
    remove: Annotated[list[str] | None, typer.Option(help="Remove the document from this source.")] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Delete the whole base.")] = False,
    reindex: Annotated[bool, typer.Option("--reindex", help="Embed everything anew with the model set.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Add files, folders and pages to a base of documents. Only what is new or changed costs anything.

    A folder is followed: files that were deleted from it are removed. docs/knowledge.md explains bases.
    """
    settings = Settings()
    wanted = sum(map(bool, (paths, list_, remove, drop, reindex)))
    if wanted != 1:
        raise KnowledgeError(
            "Nothing to do was named." if not wanted else "One thing at a time.",
            hint="Name files or folders, or one of --list, --remove, --drop, --reindex.",
        )
    if preview and paths:
        _preview(paths, _chunking(chunking), settings, as_json)
    elif list_:
        _list("" if all_ else base, settings, as_json)
    elif drop:
        _drop(base, settings)
    elif remove:
        _remove(base, remove, settings)
    elif reindex:
        _reindex(base, settings)
    else:
        _add(paths or [], base, _chunking(chunking), settings, as_json)


def _add(paths: Sequence[str], base: str, chunking: "Chunking", settings: Settings, as_json: bool) -> None:
    """Add everything; exit code 1 if something could not be read."""
    with closing(_open(base, settings, chunking)) as opened, _progress() as progress:
        try:
            report = _total([_added(opened, path, progress) for path in paths])
        except KeyboardInterrupt:
            tell("Stopped. What was added is in the base; the same command goes on from there.")
            raise typer.Exit(130) from None
    counts = {name: getattr(report, name) for name in _COUNTS}
    failed = [{"source": source, "error": error.message, "hint": error.hint} for source, error in report.failed]
    if as_json:
        _print_json({"base": base, **counts, "failed": failed})
    else:
        print(", ".join(f"{count} {name}" for name, count in counts.items()) + f", {len(failed)} failed")
        for each in failed:
            tell(f"{each['source']}: {each['error']} {each['hint']}".rstrip())
    if failed:
        raise typer.Exit(1)


def _added(base: "KnowledgeBase", path: str, progress: Callable[[int, int, str], None]) -> "Report":
    if path.startswith(_WEB):
        return _or_failed(path, lambda: base.add_page(path))
    if Path(path).is_dir():
        return base.add_folder(Path(path), progress=progress)
    return base.add_files([Path(path)], progress=progress)


def _or_failed(source: str, add: Callable[[], "Report"]) -> "Report":
    """A page that cannot be fetched must not keep the others out."""
    from phireside.retrieval import Report

    try:
        return add()
    except PhiresideError as error:
        return Report(failed=((source, error),))


def _total(reports: Sequence["Report"]) -> "Report":
    from phireside.retrieval import Report

    counts = {name: sum(getattr(report, name) for report in reports) for name in _COUNTS}
    return Report(**counts, failed=tuple(failure for report in reports for failure in report.failed))


def _preview(paths: Sequence[str], chunking: "Chunking", settings: Settings, as_json: bool) -> None:
    """The chunks as they would be, counted by the model's own tokenizer."""
    from phireside.models.embeddings import embeddings
    from phireside.retrieval import chunk, load_file, load_page
    from phireside.retrieval.adding import files_below
    from phireside.retrieval.embedder import Embedder

    count = Embedder(embeddings(settings.embeddings)).count_tokens
    shown: list[dict[str, Any]] = []
    for path in paths:
        for each in map(str, files_below(Path(path))[0]) if Path(path).is_dir() else [path]:
            loaded = load_page(each) if each.startswith(_WEB) else load_file(Path(each))
            cut = chunk(loaded, chunking, count)
            shown += [{"source": each, **asdict(piece), "tokens": count(piece.searched)} for piece in cut]
    if as_json:
        _print_json(shown)
        return
    for number, piece in enumerate(shown, 1):
        page = f", page {piece['page']}" if piece["page"] is not None else ""
        print(
            plain(f"── {number}  {piece['source']}{page}, {piece['start']} to {piece['end']}, {piece['tokens']} tokens")
        )
        print(plain(piece["before"] + piece["text"]) + "\n")


def _list(base: str, settings: Settings, as_json: bool) -> None:
    from phireside.retrieval import base_names

    if not base:
        names = base_names(settings.bases_dir)
        _print_json(names) if as_json else print(*map(plain, names), sep="\n")
        return
    with closing(_existing(base, settings)) as opened:
        found = opened.documents()
    if as_json:
        _print_json([{**asdict(each), "added_at": each.added_at.isoformat()} for each in found])
        return
    for each in found:
        print(plain("\t".join((each.source, each.title, each.kind, f"{each.chunks} chunks"))))


def _drop(base: str, settings: Settings) -> None:
    _existing(base, settings).close()
    shutil.rmtree(settings.bases_dir / base)
    tell(f"{base} is deleted.")


def _remove(base: str, sources: Sequence[str], settings: Settings) -> None:
    """Remove documents; a path may be given as it was when it was added."""
    from phireside.retrieval.adding import source_of

    with closing(_existing(base, settings)) as opened:
        missing = [each for each in sources if not (opened.remove(each) or opened.remove(source_of(Path(each))))]
    if missing:
        raise KnowledgeError(f"{base} has no document from {missing[0]}.", hint="`--list` shows the sources.")
    tell(f"{len(sources)} removed.")


def _reindex(base: str, settings: Settings) -> None:
    with closing(_existing(base, settings)) as opened, _progress() as progress:
        print(f"{opened.reindex(progress)} chunks embedded")


def _existing(base: str, settings: Settings) -> "KnowledgeBase":
    from phireside.retrieval import base_names

    if base not in base_names(settings.bases_dir):
        raise KnowledgeError(f"There is no base {base!r}.", hint="`phireside index --list --all` shows them.")
    return _open(base, settings, _chunking(""))


def _open(base: str, settings: Settings, chunking: "Chunking") -> "KnowledgeBase":
    from phireside.models.embeddings import embeddings
    from phireside.retrieval import KnowledgeBase

    return KnowledgeBase.named(base, settings.bases_dir, embeddings(settings.embeddings), chunking=chunking)


def _chunking(text: str) -> "Chunking":
    """`how[:tokens[:overlap]]`; empty = the default."""
    from phireside.retrieval import Chunking

    default = Chunking()
    if not text:
        return default
    how, *numbers = text.split(":")
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise KnowledgeError(f"{text!r} is no chunking.", hint="Write it as headings:200:32.")
    size, overlap = (*map(int, numbers), *(default.size, default.overlap)[len(numbers) :])
    return replace(default, how=how, size=size, overlap=overlap)  # type: ignore[arg-type]  # it checks the name itself


def _print_json(data: object) -> None:
    print(json.dumps(data, indent=1))


@contextmanager
def _progress() -> Iterator[Callable[[int, int, str], None]]:
    """How far it is, on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(done: int, total: int, source: str) -> None:
            bar.update(task, completed=done, total=total, description=escape(plain(source)[-_SOURCE_WIDTH:]))

        yield show
