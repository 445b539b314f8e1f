"""`phireside eval retrieval`: how well documents are found, stage by stage. Measures nothing itself."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phireside.cli.complete import base_names
from phireside.cli.options import Model
from phireside.cli.output import Json, counting, examples, print_json, reporting_errors
from phireside.cli.search import Reranker, open_base, split
from phireside.errors import RequestError
from phireside.settings import Settings

if TYPE_CHECKING:
    from phireside.retrieval.evaluation import Evaluation


EXAMPLES = examples(
    "phireside eval retrieval --beir scifact --index /tmp/scifact",
    "phireside eval retrieval --base work --judgments judged --plot plot.html",
    "phireside eval retrieval --base work --generate 50 --json",
)


@reporting_errors()
def retrieval(
    beir: Annotated[Path | None, typer.Option(help="Folder with corpus.jsonl, queries.jsonl, qrels/test.tsv.")] = None,
    base: Annotated[
        str, typer.Option("--base", "-b", help="Name of a base of your own.", autocompletion=base_names)
    ] = "",
    judgments: Annotated[
        Path | None,
        typer.Option(help="For --base: folder with queries.jsonl and qrels/test.tsv, of documents' sources."),
    ] = None,
    generate: Annotated[
        int, typer.Option(min=0, help="For --base: how many questions a model is to write instead.")
    ] = 0,
    model: Model = "",
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
    as_json: Json = False,
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
    options: dict[str, Any] = {"k": k, "rows": split(stages), "progress": counting("queries")}
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
        print_json(as_data(found))
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
            collection, path, embedding_model(embeddings or Settings().embeddings), progress=counting("documents")
        )
        try:
            return evaluate(base, collection.queries, collection.judgments, **options)
        finally:
            base.close()


def _of_base(name: str, judgments: Path | None, generate: int, model: str, options: dict[str, Any]) -> "Evaluation":
    from phireside.retrieval.evaluation import by_source, evaluate, generated_questions, read_judged

    base = open_base(name)
    try:
        if judgments is not None:
            queries, judged = read_judged(judgments)
            by_name = by_source(base.documents(), judged, judgments / "qrels" / "test.tsv")
            return evaluate(base, queries, by_name, unit="source", **options)
        from phireside.models import load_chat_model

        written, about = generated_questions(base, load_chat_model(model, Settings(), temperature=0.0), generate)
        return evaluate(base, written, about, unit="chunk", generated=True, **options)
    finally:
        base.close()


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="phireside-eval-") as folder:
        yield Path(folder)
