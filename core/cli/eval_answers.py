"""`phireside eval answers`: grades for answers from documents, by any model. Prints what the judging chain says."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phireside.cli.output import plain, reporting_errors, tell
from phireside.errors import RequestError

if TYPE_CHECKING:
    from phireside.chains.rag import Judged, Report, Sample

Problems = list[tuple[int, str]]


@reporting_errors()
def answers(
    file: Annotated[Path, typer.Argument(help="JSON lines: question, answer, and perhaps passages, known, short.")],
    model: Annotated[str, typer.Option(help="The judge: a name from `models list`, a path, or openai:MODEL.")] = "auto",
    embeddings: Annotated[
        str, typer.Option(help="Compare questions by these embeddings, e.g. starter; empty = by the judge.")
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="Judge the first so many; 0 = all.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the scores of each sample.")] = False,
) -> None:
    """Judge answers: fluency, utility, citations, faithfulness, relevance; also exact match and F1."""
    samples, problems = _samples(file, limit)
    report = _judged(samples, model, embeddings)
    problems += [(line, each.problem) for (line, _), each in zip(samples, report.judged, strict=True) if each.problem]
    if as_json:
        print(json.dumps(_as_data(samples, report, sorted(problems)), indent=1))
    else:
        _print(report, len(samples) + len(problems) - len(report.unscored), sorted(problems))


def _samples(file: Path, limit: int) -> "tuple[list[tuple[int, Sample]], Problems]":
    """The samples by their lines, and what is wrong with the lines that hold none."""
    from phireside.chains.rag import Sample  # LangChain, half a second

    good, bad = [], []
    for line, text in _lines(file, limit):
        try:
            row: Any = json.loads(text)
            if not isinstance(row, dict):
                raise RequestError("It is no JSON object.")
            good.append((line, Sample.of(row)))
        except RequestError as error:
            bad.append((line, error.message))
        except (ValueError, RecursionError) as error:
            bad.append((line, f"It is no JSON: {error}"))
    if not good:
        raise RequestError(
            f"None of the {len(bad)} lines of {file} is a sample.",
            hint='Write one JSON object a line: {"question": "…", "answer": "… [1]", "passages": ["…"]}.',
        )
    return good, bad


def _lines(file: Path, limit: int) -> Iterator[tuple[int, str]]:
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as opened:  # splitlines() would cut at U+2028 too
            rows = [(number, line) for number, line in enumerate(opened, 1) if line.strip()]
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror}.", hint="Name a file of JSON lines.") from error
    yield from rows[: limit or len(rows)]


def _judged(samples: "list[tuple[int, Sample]]", model: str, embeddings: str) -> "Report":
    from phireside.chains.rag import Report, judge_answers
    from phireside.models import load_chat_model
    from phireside.settings import Settings

    judge = load_chat_model(model, Settings())
    chain = judge_answers(model=judge, embeddings=_embeddings(embeddings) if embeddings else None)
    report = Report()
    for report in chain.stream([sample for _, sample in samples]):
        print(f"\r{len(report.judged)} of {len(samples)} judged", end="", file=sys.stderr, flush=True)
    tell("")
    return report


def _embeddings(name: str) -> Any:
    from phireside.models.embeddings import embeddings

    return embeddings(name)


def _as_data(samples: "list[tuple[int, Sample]]", report: "Report", problems: Problems) -> dict[str, Any]:
    def row(line: int, each: "Judged") -> dict[str, Any]:
        return {"line": line, "question": each.sample.question, **asdict(each.scores)}

    return {
        "means": {name: {"mean": mean, "samples": count} for name, (mean, count) in report.means().items()},
        "samples": [row(line, each) for (line, _), each in zip(samples, report.judged, strict=True)],
        "unscored": [{"line": line, "problem": problem} for line, problem in problems],
        "cost": asdict(report.cost),
    }


def _print(report: "Report", count: int, problems: Problems) -> None:
    for name, (mean, samples) in report.means().items():
        print(f"{name.replace('_', ' '):20}{'-' if mean is None else f'{mean:.3f}':>8}   {samples} of {count} samples")
    for line, problem in problems:
        print(plain(f"line {line} is unscored: {problem}"))
