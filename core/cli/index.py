"""`phireside index`: files, folders and web pages into a base of documents, and what is in it. Decides nothing itself.

Results go to stdout; progress goes to stderr.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phireside.cli.complete import base_names as complete_base
from phireside.cli.output import STOPPED, Json, examples, plain, print_json, print_table, reporting_errors, tell
from phireside.errors import KnowledgeError, PhiresideError
from phireside.settings import Settings

if TYPE_CHECKING:
    from phireside.retrieval import Chunking, KnowledgeBase, Loaded, Report

Failure = tuple[str, PhiresideError]

Base = Annotated[
    str | None,
    typer.Option(
        "--base", "-b", help="The base; created when it is missing. Default: documents.", autocompletion=complete_base
    ),
]

_WEB = ("http://", "https://")
_DEFAULT_BASE = "documents"
_SOURCE_WIDTH = 60
EXAMPLES = examples(
    "phireside index ~/letters --base letters",
    "phireside index report.pdf https://example.org/page --base work --json",
    "phireside index report.pdf --preview --chunking headings:200:32",
    "phireside index --all",
    "phireside index --base letters --list",
    "phireside index --base letters --remove ~/letters/old.md",
)
_COUNTS = ("added", "changed", "unchanged", "removed")


@reporting_errors()
def index(
    paths: Annotated[list[str] | None, typer.Argument(help="Files, folders, or addresses of web pages.")] = None,
    base: Base = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show the chunks; add nothing.")] = False,
    chunking: Annotated[
        str,
        typer.Option(help="sentences, paragraphs, tokens or headings; with size and overlap: headings:200:32."),
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="Show the base's documents.")] = False,
    all_: Annotated[bool, typer.Option("--all", help="Show all bases.")] = False,
    remove: Annotated[list[str] | None, typer.Option(help="Remove the document from this source.")] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Delete the whole base that --base names.")] = False,
    reindex: Annotated[bool, typer.Option("--reindex", help="Embed everything anew with the model set.")] = False,
    as_json: Json = False,
) -> None:
    """Add files, folders and pages to a base of documents. Only what is new or changed costs anything.

    A folder is followed: files that were deleted from it are removed. docs/knowledge.md explains bases.
    """
    settings = Settings()
    wanted = sum(map(bool, (paths, list_ or all_, remove, drop, reindex)))
    if wanted != 1:
        raise KnowledgeError(
            "Nothing to do was named." if not wanted else "One thing at a time.",
            hint="Name files or folders, or one of --list, --all, --remove, --drop, --reindex.",
        )
    _refuse_idle({"--preview": preview and not paths, "--chunking": chunking and not paths})
    if drop and base is None:
        raise KnowledgeError("Which base is to be deleted?", hint="Name it: --drop --base NAME.")
    if "" in (paths or []):
        raise KnowledgeError("A path is empty.", hint="The current folder is written as a dot.")
    base = _DEFAULT_BASE if base is None else base
    if preview and paths:
        _preview(paths, _chunking(chunking), settings, as_json)
    elif all_:
        _list_bases(settings, as_json)
    elif list_:
        _list(base, settings, as_json)
    elif drop:
        _drop(base, settings, as_json)
    elif remove:
        _remove(base, remove, settings, as_json)
    elif reindex:
        _reindex(base, settings, as_json)
    else:
        _add(paths or [], base, _chunking(chunking), settings, as_json)


def _refuse_idle(options: Mapping[str, object]) -> None:
    """An option that does nothing would be taken for done."""
    if idle := [name for name, given in options.items() if given]:
        raise KnowledgeError(f"{', '.join(idle)} does nothing here.", hint="Leave it out.")


def _add(paths: Sequence[str], base: str, chunking: "Chunking", settings: Settings, as_json: bool) -> None:
    """Add everything; exit code 1 if something could not be read. A base is made if there is something to be in it."""
    from phireside.retrieval import Report, base_folder, base_names

    base_folder(base, settings.bases_dir)  # an error before any work
    report = None
    if base not in base_names(settings.bases_dir):
        readable, failed = _first_readable(paths)
        report = None if readable else Report(failed=tuple(failed))
    if report is None:
        report = _add_to(base, paths, chunking, settings)
    _print_report(report, base, _skipped(paths), as_json)
    if report.failed:
        raise typer.Exit(1)


def _add_to(base: str, paths: Sequence[str], chunking: "Chunking", settings: Settings) -> "Report":
    with closing(_open(base, settings, chunking)) as opened, _progress() as progress:
        try:
            return _total([_added(opened, path, progress) for path in paths])
        except KeyboardInterrupt:
            tell("Stopped. What was added is in the base; the same command goes on from there.")
            raise typer.Exit(STOPPED) from None


def _print_report(report: "Report", base: str, skipped: Mapping[str, int], as_json: bool) -> None:
    counts = {name: getattr(report, name) for name in _COUNTS}
    if as_json:
        print_json({"base": base, **counts, "failed": _failures(report.failed), "skipped": skipped})
        return
    parts = [*(f"{count} {name}" for name, count in counts.items()), f"{len(report.failed)} failed"]
    if skipped:
        kinds = ", ".join(suffix or "no suffix" for suffix in sorted(skipped))
        parts.append(f"{sum(skipped.values())} skipped ({kinds})")
    print(plain(", ".join(parts)))
    _tell_failures(report.failed)


def _failures(failed: Sequence[Failure]) -> list[dict[str, str]]:
    return [{"source": source, "error": error.message, "hint": error.hint} for source, error in failed]


def _tell_failures(failed: Sequence[Failure]) -> None:
    for source, error in failed:
        tell(f"{source}: {error.message} {error.hint}".rstrip())


def _skipped(paths: Sequence[str]) -> Counter[str]:
    """By suffix, the files of folders whose kind is not known; a folder without any other is told."""
    from phireside.retrieval import KINDS
    from phireside.retrieval.adding import files_below, skipped_below

    found: Counter[str] = Counter()
    for path in paths:
        if not path.startswith(_WEB) and Path(path).is_dir():
            found += skipped_below(Path(path))
            if not files_below(Path(path))[0]:
                kinds = ", ".join(sorted(suffix.removeprefix(".") for suffix in KINDS))
                tell(f"No files of a known kind in {path} ({kinds}).")
    return found


def _first_readable(paths: Sequence[str]) -> tuple[bool, list[Failure]]:
    """Whether anything can be read, and what could not before that was found."""
    failed: list[Failure] = []
    for source, loaded in _loaded(paths):
        if not isinstance(loaded, PhiresideError):
            return True, failed
        failed.append((source, loaded))
    return False, failed


def _loaded(paths: Sequence[str]) -> "Iterator[tuple[str, Loaded | PhiresideError]]":
    """The documents that paths stand for, each as it is, or why it cannot be read."""
    from phireside.retrieval import load_file, load_page
    from phireside.retrieval.adding import files_below, stamp

    for path in paths:
        followed = not path.startswith(_WEB) and Path(path).is_dir()
        files, unread = files_below(Path(path)) if followed else ([], [])
        for source in map(str, files) if followed else [path]:
            try:
                if source.startswith(_WEB):
                    yield source, load_page(source)
                else:
                    stamp(Path(source))  # "no such file" rather than "no known kind"
                    yield source, load_file(Path(source))
            except PhiresideError as error:
                yield source, error
        yield from unread


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
    from phireside.cli.embedding import embedding_model
    from phireside.retrieval import chunk
    from phireside.retrieval.embedder import Embedder

    count = Embedder(embedding_model(settings.embeddings)).count_tokens
    shown: list[dict[str, Any]] = []
    failed: list[Failure] = []
    for source, loaded in _loaded(paths):
        if isinstance(loaded, PhiresideError):
            failed.append((source, loaded))
            continue
        cut = chunk(loaded, chunking, count)
        shown += [{"source": source, **asdict(piece), "tokens": count(piece.searched)} for piece in cut]
    if as_json:
        print_json(shown)
    else:
        for number, piece in enumerate(shown, 1):
            print(_as_text(number, piece))
    _skipped(paths)
    _tell_failures(failed)
    if failed:
        raise typer.Exit(1)


def _as_text(number: int, piece: Mapping[str, Any]) -> str:
    page = f", page {piece['page']}" if piece["page"] is not None else ""
    place = f"{piece['source']}{page}, {piece['start']} to {piece['end']}, {piece['tokens']} tokens"
    before = " / ".join(piece["before"].splitlines())
    label = f"put before it: {before}\n" if before else ""
    return plain(f"── {number}  {place}\n{label}{piece['text']}\n")


def _list_bases(settings: Settings, as_json: bool) -> None:
    """A base that cannot be read must not hide the others."""
    from phireside.retrieval.listing import base_info
    from phireside.retrieval.names import offered_bases

    found, failed = [], []
    for name in offered_bases(settings.bases_dir):
        try:
            found.append(base_info(name, settings.bases_dir))
        except PhiresideError as error:
            failed.append((name, error))
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        rows = [
            (each.name, _count(each.documents, "document"), _count(each.chunks, "chunk"), each.model or "nothing added")
            for each in found
        ]
        print_table(("Base", "Documents", "Chunks", "Embedding model"), rows)
    _tell_failures(failed)
    if failed:
        raise typer.Exit(1)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _list(base: str, settings: Settings, as_json: bool) -> None:
    with closing(_existing(base, settings)) as opened:
        found = opened.documents()
    if as_json:
        print_json([{**asdict(each), "added_at": each.added_at.isoformat()} for each in found])
        return
    rows = [(each.source, each.title, each.kind, _count(each.chunks, "chunk")) for each in found]
    print_table(("Source", "Title", "Kind", "Chunks"), rows)


def _drop(base: str, settings: Settings, as_json: bool) -> None:
    from phireside.retrieval.bases import delete_base

    delete_base(base, settings.bases_dir)
    if as_json:
        print_json({"base": base, "dropped": True})
    tell(f"{base} is deleted.")


def _remove(base: str, sources: Sequence[str], settings: Settings, as_json: bool) -> None:
    """Remove documents; a path may be given as it was when it was added."""
    from phireside.retrieval.adding import source_of

    with closing(_existing(base, settings)) as opened:
        missing = [each for each in sources if not (opened.remove(each) or opened.remove(source_of(Path(each))))]
    removed = len(sources) - len(missing)
    if removed and as_json:
        print_json({"base": base, "removed": removed})
    if removed:
        tell(f"{removed} removed.")
    if missing:
        raise KnowledgeError(f"{base} has no document from {', '.join(missing)}.", hint="`--list` shows the sources.")


def _reindex(base: str, settings: Settings, as_json: bool) -> None:
    with closing(_existing(base, settings)) as opened, _progress() as progress:
        count = opened.reindex(progress)
    if as_json:
        print_json({"base": base, "embedded": count})
    else:
        print(f"{_count(count, 'chunk')} embedded")


def _existing(base: str, settings: Settings) -> "KnowledgeBase":
    _check_exists(base, settings)
    return _open(base, settings, _chunking(""))


def _check_exists(base: str, settings: Settings) -> None:
    from phireside.retrieval import base_names

    if base not in base_names(settings.bases_dir):
        raise KnowledgeError(f"There is no base {base!r}.", hint="`phireside index --all` shows them.")


def _open(base: str, settings: Settings, chunking: "Chunking") -> "KnowledgeBase":
    from phireside.cli.embedding import embedding_model
    from phireside.retrieval import KnowledgeBase

    model = embedding_model(settings.embeddings)
    return KnowledgeBase.named(base, settings.bases_dir, model, create=True, chunking=chunking)


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
