"""Judged collections in the BEIR layout: corpus.jsonl, queries.jsonl, qrels/test.tsv. Knows no base.

Thakur, Reimers, Rücklé, Srivastava & Gurevych, "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information
Retrieval Models", NeurIPS 2021. A damaged line is an error with its number: a collection with holes measures nothing.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phireside.errors import RequestError
from phireside.text import clean_text

Judgments = Mapping[str, Mapping[str, int]]

_GRADE = 1000  # the library that measures makes room for each grade up to the highest: 2**40 ends the process

_LAYOUT = (
    "A collection is a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv; docs/evaluation.md has the form."
)


@dataclass(frozen=True)
class Collection:
    """Documents, queries and what people judged.

    Attributes:
        documents: by id, title and text.
        queries: by id, those that have a relevant document.
        judgments: by query and document, how relevant: 0 is not.
    """

    documents: Mapping[str, tuple[str, str]]
    queries: Mapping[str, str]
    judgments: Judgments


def read_beir(folder: Path, split: str = "test") -> Collection:
    """A collection.

    Args:
        folder: with the files.
        split: of which judgments: qrels/SPLIT.tsv.

    Raises:
        RequestError: a file is missing or damaged, or nothing is judged relevant.
    """
    documents = {
        row["_id"]: (row.get("title") or "", row["text"])  # some documents of real collections have no text
        for row in _rows(folder / "corpus.jsonl", filled=("_id",))
    }
    queries, judgments = read_judged(folder, split)
    unknown = sorted({each for judged in judgments.values() for each in judged} - documents.keys())
    if unknown:
        raise RequestError(f"{len(unknown)} judged documents are not in the corpus, e.g. {unknown[0]!r}.", hint=_LAYOUT)
    return Collection(documents, queries, judgments)


def read_judged(folder: Path, split: str = "test") -> tuple[Mapping[str, str], Judgments]:
    """Queries and judgments of a folder, for documents that lie elsewhere. Queries without a relevant one go.

    Raises:
        RequestError: see `read_beir`.
    """
    queries = {row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl", filled=("_id", "text"))}
    judgments: dict[str, dict[str, int]] = {}
    for query, document, grade in _judged(folder / "qrels" / f"{split}.tsv"):
        if judgments.setdefault(query, {}).setdefault(document, grade) != grade:
            raise RequestError(
                f"{folder / 'qrels'} judges document {document!r:.80} for query {query!r:.80} as "
                f"{judgments[query][document]} and as {grade}.",
                hint="Leave one of the two lines.",
            )
    judgments = {query: judged for query, judged in judgments.items() if any(grade > 0 for grade in judged.values())}
    if missing := sorted(judgments.keys() - queries.keys()):
        raise RequestError(
            f"{len(missing)} judged queries are not in queries.jsonl, e.g. {missing[0]!r}.", hint=_LAYOUT
        )
    if not judgments:
        raise RequestError(f"No query of {folder} has a relevant document.", hint=_LAYOUT)
    return {query: text for query, text in queries.items() if query in judgments}, judgments


def write_beir(folder: Path, collection: Collection) -> None:
    """Write a collection; the folder is created.

    Raises:
        RequestError: a judgment has an id with a tab or line break, which its file cannot hold.
    """
    judged = [(query, each, str(grade)) for query, of in collection.judgments.items() for each, grade in of.items()]
    if bad := next((each for row in judged for each in row if re.search(r"[\t\r\n]", each)), None):
        raise RequestError(f"The id {bad!r:.80} has a tab or a line break.", hint="Give it another one.")
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    documents = ({"_id": each, "title": title, "text": text} for each, (title, text) in collection.documents.items())
    queries = ({"_id": each, "text": text} for each, text in collection.queries.items())
    for name, rows in (("corpus", documents), ("queries", queries)):
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with (folder / "qrels" / "test.tsv").open("w", encoding="utf-8", newline="") as file:
        file.writelines("\t".join(row) + "\n" for row in (("query-id", "corpus-id", "score"), *judged))


def _rows(path: Path, filled: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The objects of a file; each has an _id of its own, and texts, of which those in `filled` say something."""
    seen = set[str]()
    for number, line in _lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"Line {number} of {path} is no JSON: {error}.", hint=_LAYOUT) from error
        if problem := _problem(row, filled) or (f"has _id {row['_id']!r} again" if row["_id"] in seen else ""):
            raise RequestError(f"Line {number} of {path} {problem}.", hint=_LAYOUT)
        seen.add(row["_id"])
        yield row


def _problem(row: Any, filled: tuple[str, ...]) -> str:
    """What is wrong with a row by itself; "" if nothing."""
    if not isinstance(row, dict) or row.get("_id") is None or row.get("text") is None:
        return "has no _id or no text"
    for name in ("_id", "text", "title"):
        text = "" if row.get(name) is None else row[name]
        if not isinstance(text, str):
            return f"has {text!r:.40} for its {name}, which is a text"
        if name in filled and not text.strip():
            return f"has an empty {name}"
        if clean_text(text) != text:
            return f"has half a surrogate pair in its {name}"
    return ""


def _judged(path: Path) -> Iterator[tuple[str, str, int]]:
    for number, line in _lines(path):
        fields = line.rstrip("\r\n").split("\t")
        if number == 1 and fields[-1] == "score":
            continue
        try:
            query, document, text = fields
            grade = int(text)
        except ValueError:
            raise RequestError(
                f"Line {number} of {path} is not query-id, corpus-id and a whole number with tabs between them: "
                f"{line.strip()!r:.80}",
                hint=_LAYOUT,
            ) from None
        if abs(grade) > _GRADE:
            raise RequestError(
                f"Line {number} of {path} has the grade {text!s:.40}; {_GRADE} is the most.", hint=_LAYOUT
            )
        yield query, document, grade


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise RequestError(f"{path} cannot be read: {reason}.", hint=_LAYOUT) from error
