"""`phireside eval answers`: grades for answers from documents, by any model. Prints what the judging chain says."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phireside.cli.options import Model
from phireside.cli.output import Json, counting, examples, plain, print_json, reporting_errors
from phireside.errors import RequestError
from phireside.settings import Settings

if TYPE_CHECKING:
    from phireside.chains.rag import AnswersRun, Report, Sample

EXAMPLES = examples(
    "phireside eval answers answers.jsonl --model phi-3", "phireside eval answers answers.jsonl --limit 20 --json"
)


@reporting_errors()
def answers(
    file: Annotated[Path, typer.Argument(help="JSON lines: question, answer, and perhaps passages, known, short.")],
    model: Model = "",
    embeddings: Annotated[
        str, typer.Option(help="Compare questions by these embeddings, e.g. starter; empty = by the judge.")
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="Judge the first so many; 0 = all.")] = 0,
    as_json: Json = False,
) -> None:
    """Judge answers by a model: fluency, utility, citations, faithfulness, relevance; also exact match and F1."""
    from phireside.chains.rag import AnswersRun, read_samples  # LangChain, half a second
    from phireside.chains.rag.runs import as_data

    samples, problems = read_samples(_text(file), limit)
    settings = Settings()
    model = model or settings.model
    report = _judged([sample for _, sample in samples], model, settings, embeddings)
    run = AnswersRun(str(file), model, tuple(line for line, _ in samples), report, tuple(problems))
    if as_json:
        print_json(as_data(run))
    else:
        _print(run)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig", errors="replace")
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror}.", hint="Name a file of JSON lines.") from error


def _judged(samples: "Sequence[Sample]", model: str, settings: Settings, embeddings: str) -> "Report":
    from phireside.chains.rag import Report, judge_answers
    from phireside.models import load_chat_model

    judge = load_chat_model(model, settings)
    chain = judge_answers(model=judge, embeddings=_embeddings(embeddings) if embeddings else None)
    report, show = Report(), counting("judged")
    for report in chain.stream(samples):
        show(len(report.judged), len(samples))
    return report


def _embeddings(name: str) -> Any:
    from phireside.models.embeddings import embeddings

    return embeddings(name)


def _print(run: "AnswersRun") -> None:
    count = len(run.lines) + len(run.problems) - len(run.report.unscored)
    for name, (mean, samples) in run.report.means().items():
        print(f"{name.replace('_', ' '):20}{'-' if mean is None else f'{mean:.3f}':>8}   {samples} of {count} samples")
    for line, problem in run.unscored:
        print(plain(f"line {line} is unscored: {problem}"))
