"""`phireside eval retrieval`: how well documents are found, stage by stage. Measures nothing itself."""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phireside.cli.output import reporting_errors
from phireside.cli.search import Reranker, open_base, split
from phireside.errors import RequestError
from phireside.settings import Settings

if TYPE_CHECKING:
    from phireside.retrieval import KnowledgeBase
    from phireside.retrieval.evaluation import Evaluation


@reporting_errors()
def retrieval(
    beir: Annotated[Path | None, typer.Option(help="Folder with corpus.jsonl, queries.jsonl, qrels/test.tsv.")] = None,
    base: Annotated[str, typer.Option("--base", "-b", help="Name of a base of your own.")] = "",
    judgments: Annotated[
        Path | None,
        typer.Option(help="For --base: folder with queries.jsonl and qrels/test.tsv, of documents' sources."),
    ] = None,
    generate: Annotated[
        int, typer.Option(min=0, help="For --base: how many questions a model is to write instead.")
    ] = 0,
    model: Annotated[str, typer.Option("--model", "-m", help="The model that writes them.")] = "",
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="At how many hits to measure.")] = 10,
    stages: Annotated[
        str, typer.Option(help="Rows: dense, keyword, hybrid, feedback, rerank, with commas between.")
    ] = "dense,keyword,hybrid,feedback",
    reranker: Reranker = "",
    embeddings: Annotated[str, typer.Option(help="For --beir: the embedding model. Default: the settings'.")] = "",
    index: Annotated[
        Path | None, typer.Option(help="For --beir: folder to keep the indexed collection in for the next time.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a plot to this .html, .json or .svg file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the values of every query.")] = False,
) -> None:
    """Measure precision, recall, MAP, MRR and nDCG of each stage of search, and what each adds to the one before it.

    docs/evaluation.md explains the files, the measures and the tests of significance.
    """
    if (beir is None) == (not base) or (base and (judgments is None) == (not generate)):
        raise RequestError(
            "It must be said what to measure with.",
            hint="Give --beir FOLDER; or --base NAME with --judgments FOLDER or with --generate COUNT.",
        )
    from phireside.models.reranker import reranker as load_reranker
    from phireside.retrieval.evaluation import check_form
    from phireside.retrieval.search import Search

    if plot is not None:
        check_form(plot)
    options: dict[str, Any] = {"k": k, "rows": split(stages), "progress": _progress("queries")}
    options["how"] = Search(rerank=load_reranker(reranker) if reranker else None)
    if beir is not None:
        found = _of_collection(beir, index, embeddings, options)
    else:
        found = _of_base(base, judgments, generate, model, options)
    _print(found, plot, as_json)


def _print(found: "Evaluation", plot: Path | None, as_json: bool) -> None:
    """The results, and then the plot: if it cannot be written, the results are there."""
    from rich.console import Console

    from phireside.retrieval.evaluation import advice, as_data, save_chart, table

    if as_json:
        print(json.dumps(as_data(found), indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 80).print(table(found))
        if said := advice(found):
            print(said)
    if plot is not None:
        save_chart(found, plot)


def _of_collection(beir: Path, index: Path | None, embeddings: str, options: dict[str, Any]) -> "Evaluation":
    from phireside.cli.embedding import embedding_model
    from phireside.retrieval.evaluation import base_of, evaluate, read_beir

    collection = read_beir(beir)
    with _folder(index) as path:
        base = base_of(
            collection, path, embedding_model(embeddings or Settings().embeddings), progress=_progress("documents")
        )
        try:
            return evaluate(base, collection.queries, collection.judgments, **options)
        finally:
            base.close()


def _of_base(name: str, judgments: Path | None, generate: int, model: str, options: dict[str, Any]) -> "Evaluation":
    from phireside.retrieval.evaluation import evaluate, generated_questions, read_judged

    base = open_base(name)
    try:
        if judgments is not None:
            queries, judged = read_judged(judgments)
            return evaluate(base, queries, _by_source(base, judged, judgments), unit="source", **options)
        from phireside.models import load_chat_model

        written, about = generated_questions(base, load_chat_model(model, Settings(), temperature=0.0), generate)
        return evaluate(base, written, about, unit="chunk", generated=True, **options)
    finally:
        base.close()


def _by_source(base: "KnowledgeBase", judged: Any, folder: Path) -> dict[str, dict[str, int]]:
    """Judgments of sources as the base knows them; a file may be named by its name alone, if that is clear.

    Raises:
        RequestError: a judged document is not in the base, or two have the name.
    """
    sources = [document.source for document in base.documents()]
    ends: dict[str, list[str]] = {}
    for source in sources:
        ends.setdefault(Path(source).name, []).append(source)

    def known(name: str) -> str:
        found = [name] if name in sources else ends.get(name, [])
        if len(found) != 1:
            what = f"{len(found)} documents of the base are" if found else "No document of the base is"
            raise RequestError(
                f"{what} {name!r} ({_line_of(name, folder / 'qrels' / 'test.tsv')}).",
                hint="Name it as `phireside index --list` does.",
            )
        return found[0]

    return {query: {known(name): grade for name, grade in grades.items()} for query, grades in judged.items()}


def _line_of(name: str, file: Path) -> str:
    """Where a document is judged first."""
    with file.open(encoding="utf-8-sig") as opened:
        number = next((number for number, line in enumerate(opened, 1) if line.split("\t")[1:2] == [name]), 0)
    return f"line {number} of {file}"


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="phireside-eval-") as folder:
        yield Path(folder)


def _progress(what: str) -> Any:
    """Counts on stderr, if that is a terminal."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{what}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return show
