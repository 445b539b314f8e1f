"""What the parts of benchmarks/retrieval.py share: a row, Cranfield in the BEIR layout, and its base.

Cranfield: 1,400 abstracts, 225 queries, 1,612 relevant judgments, in the TREC form of github.com/oussbenk. Its texts
begin with their titles, which is left so; queries are numbered in their order, as the judgments count them.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phireside.models.embeddings import SentenceEmbeddings
    from phireside.retrieval import KnowledgeBase
    from phireside.retrieval.evaluation import Collection, Difference


@dataclass(frozen=True)
class Row:
    """Figures by name."""

    name: str
    figures: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = (f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                 for name, value in self.figures.items())  # fmt: skip
        return f"{self.name:<44} {', '.join(shown)}"


def cranfield(data: Path) -> "Collection":
    """The collection, from the folder with cranfield/."""
    from phireside.retrieval.evaluation import Collection

    folder = data / "cranfield"
    documents = {}
    for raw in re.findall(r"<doc>(.*?)</doc>", (folder / "cran.all.1400.xml").read_text(), re.DOTALL):
        number, title, text = (_tag(raw, name) for name in ("docno", "title", "text"))
        documents[number] = (title, text)
    texts = re.findall(r"<title>(.*?)</title>", (folder / "cran.qry.xml").read_text(), re.DOTALL)
    judgments: dict[str, dict[str, int]] = {}
    for line in (folder / "cranqrel.trec.txt").read_text().splitlines():
        query, _, document, grade = line.split()
        judgments.setdefault(query, {})[document] = int(grade)
    queries = {str(number): " ".join(text.split()) for number, text in enumerate(texts, 1)}
    return Collection(documents, queries, judgments)


def _tag(raw: str, name: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", raw, re.DOTALL)
    return " ".join(unescape(found[1]).split()) if found else ""


def model(options: argparse.Namespace) -> "SentenceEmbeddings":
    """The embedding model."""
    from phireside.models.embeddings import embeddings

    return embeddings(options.embeddings)


def base(options: argparse.Namespace) -> "KnowledgeBase":
    """Cranfield as a base with one chunk for each document."""
    from phireside.retrieval.evaluation import base_of, write_beir

    collection = cranfield(options.data)
    write_beir(options.folder / "beir", collection)  # for `phireside eval retrieval --beir`
    return base_of(collection, options.folder / "base", model(options))


def compared(difference: "Difference") -> dict[str, float]:
    """A difference as figures."""
    return {"difference": difference.mean, "t": difference.t, "p": difference.p_t, "p_rand": difference.p_randomization}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
