"""Judgments of documents by their names, for a base that knows them by their sources; and judgments sent as files."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from phireside.errors import RequestError
from phireside.retrieval.documents import DocumentInfo
from phireside.retrieval.evaluation.beir import Judgments, read_judged
from phireside.retrieval.knowledge_base import KnowledgeBase


def by_source(
    documents: Sequence[DocumentInfo], judgments: Judgments, file: Path | None = None
) -> dict[str, dict[str, int]]:
    """Judgments of sources; a document may be named by its file name or its label alone, if that is clear.

    Args:
        documents: of the base.
        judgments: by query and name.
        file: they are from; an error says its line then.

    Raises:
        RequestError: a judged document is not in the base, or two have the name.
    """
    sources = {document.source for document in documents}
    ends: dict[str, list[str]] = {}
    for document in documents:
        for name in {Path(document.source).name, document.title}:
            ends.setdefault(name, []).append(document.source)

    def known(name: str) -> str:
        found = [name] if name in sources else ends.get(name, [])
        if len(found) != 1:
            what = f"{len(found)} documents of the base are" if found else "No document of the base is"
            where = f" ({_line_of(name, file)})" if file else ""
            raise RequestError(f"{what} {name!r}{where}.", hint="Name it as the base's list of documents does.")
        return found[0]

    return {query: {known(name): grade for name, grade in grades.items()} for query, grades in judgments.items()}


def _line_of(name: str, file: Path) -> str:
    """Where a document is judged first."""
    with file.open(encoding="utf-8-sig") as opened:
        number = next((number for number, line in enumerate(opened, 1) if line.split("\t")[1:2] == [name]), 0)
    return f"line {number} of {file}"


def sent_judgments(queries: bytes, qrels: bytes) -> tuple[Mapping[str, str], Judgments]:
    """Queries and judgments of two files that somebody sent.

    Args:
        queries: lines of JSON, as in a queries.jsonl.
        qrels: lines with tabs, as in a qrels/test.tsv.

    Raises:
        RequestError: a line cannot be used; it is named.
    """
    with tempfile.TemporaryDirectory(prefix="phireside-judged-") as name:
        folder = Path(name)
        (folder / "qrels").mkdir()
        (folder / "queries.jsonl").write_bytes(queries)
        (folder / "qrels" / "test.tsv").write_bytes(qrels)
        try:
            return read_judged(folder)
        except RequestError as error:
            message = error.message.replace(f"{folder}/", "").replace(str(folder), "these files")
            raise RequestError(message, hint=error.hint) from None


def check_chunks(base: KnowledgeBase, judgments: Judgments) -> None:
    """Whether the chunks that questions are about are still there: a document that is cut anew has others.

    Raises:
        RequestError: some are not.
    """
    wanted = {chunk for judged in judgments.values() for chunk in judged}
    gone = len(wanted) - len({str(each.id) for each in base.get_by_ids(sorted(wanted))})
    if gone:
        raise RequestError(
            f"{gone} of the {len(wanted)} passages that these questions are about are not in the base any more.",
            hint="Documents were changed or cut anew since. Let new questions be written.",
        )
