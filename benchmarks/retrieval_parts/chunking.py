"""Ways to cut a document, by what they bring within a number of tokens of a prompt, which is what passages cost.

Three kinds of documents: an article (SQuAD2 *Normans*: 39 paragraphs, an answer is a place in one of them), a long
conversation with a heading for each session (LoCoMo: evidence is one or more of its turns), and abstracts (Cranfield:
a document counts at its first chunk, measured by nDCG@10). Hits are taken in hybrid's order as long as they fit; found
is the share of answers that then stand whole in one of them, or of a question's evidence.

Article and conversation are small, so that the differences between neighbouring rows are within chance: `±` is half of
the 95 % interval of a share's mean over the questions.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from retrieval_parts.shared import Row, cranfield, model

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from phireside.retrieval import Chunking

BUDGETS = (250, 500, 1000)  # tokens
WAYS = ("sentences", "paragraphs", "headings", "tokens")
SIZES = (64, 128, 200, 240)  # the packaged MiniLM reads 256
ABSTRACTS = (("headings", 64), ("headings", 128), ("headings", 200), ("tokens", 200))  # those are embedded 1,400 times


@dataclass(frozen=True)
class Text:
    """A document and what is asked about it.

    Attributes:
        name: of the file that it would be; its ending says how it is read.
        questions: each with the places of its evidence: for each piece, the places of which one is enough.
    """

    name: str
    data: str
    questions: Mapping[str, Sequence[Sequence[tuple[int, int]]]]


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """A row for each way and size, with the default's overlap, then the default's with another overlap, or no title."""
    from phireside.retrieval import Chunking

    texts = {"article": article(options.data), "conversation": conversation(options.data)}
    default = Chunking()
    ways = [Chunking(how, size, min(default.overlap, size // 4)) for how in WAYS for size in SIZES]
    ways += [Chunking(overlap=0), Chunking(overlap=64), Chunking(title=False)]
    for way in ways:
        for kind, text in texts.items():
            yield Row(f"{kind}, {_said(way)}", found(options, text, way, f"{kind}-{_said(way)}"))
    for how, size in ABSTRACTS:
        yield abstracts(options, Chunking(how, size, min(default.overlap, size // 4)))


def _said(way: "Chunking") -> str:
    return f"{way.how} {way.size}/{way.overlap}{'' if way.title else ', no title'}"


def article(data: Path) -> Text:
    """The article as one text; of a question's answers each annotator's place counts."""
    raw = json.loads((data / "squad2-normans.json").read_text())
    raw = raw["data"][0] if "data" in raw else raw
    whole, questions = "", dict[str, list[list[tuple[int, int]]]]()
    for paragraph in raw["paragraphs"]:
        for asked in paragraph["qas"]:
            spans = [(len(whole) + a["answer_start"], len(whole) + a["answer_start"] + len(a["text"]))
                     for a in asked["answers"]]  # fmt: skip
            if spans and not asked["is_impossible"]:
                questions[asked["question"]] = [spans]
        whole += paragraph["context"].strip("\n") + "\n\n"
    return Text("Normans.txt", whole, questions)


def conversation(data: Path) -> Text:
    """The sessions under their dates, a paragraph for each turn; questions without evidence are left out."""
    talk = json.loads((data / "locomo-1.json").read_text())[0]
    sessions = sorted((key for key in talk["conversation"] if re.fullmatch(r"session_\d+", key)), key=_number)
    whole, said = "", dict[str, tuple[int, int]]()
    for session in sessions:
        whole += f"# {talk['conversation'][session + '_date_time']}\n\n"
        for turn in talk["conversation"][session]:
            line = f"{turn['speaker']}: {' '.join(turn['text'].split())}"
            said[turn["dia_id"]] = (len(whole), len(whole) + len(line))
            whole += line + "\n\n"
    questions = {
        asked["question"]: [[said[each]] for each in asked["evidence"]]
        for asked in talk["qa"]
        if asked["evidence"] and all(each in said for each in asked["evidence"])
    }
    return Text("talk.md", whole, questions)


def _number(key: str) -> int:
    return int(key.rpartition("_")[2])


def found(options: argparse.Namespace, text: Text, way: "Chunking", folder: str) -> dict[str, float]:
    """The share of evidence within each number of tokens, and how many chunks there are."""
    from phireside.retrieval import KnowledgeBase, Search, load_bytes, search

    embeddings = model(options)
    base = KnowledgeBase(options.folder / "chunking" / re.sub(r"\W+", "-", folder), embeddings, chunking=way)
    base.add_upload(text.name, text.data.encode())
    places = _places(text, load_bytes(text.name, text.data.encode()).text)
    shares: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
    for question, pieces in places.items():
        taken = _taken([hit.document for hit in search(base, question, Search(k=50))], embeddings.count_tokens)
        for budget in BUDGETS:
            there = [span for span, upto in taken if upto <= budget]
            hit = [any(a <= start and end <= b for a, b in there for start, end in piece) for piece in pieces]
            shares[budget].append(fmean(hit))
    figures = {f"in {budget}": fmean(each) for budget, each in shares.items()}
    half = {f"± {budget}": 1.96 * stdev(each) / len(each) ** 0.5 for budget, each in shares.items()}
    count = sum(document.chunks for document in base.documents())
    base.close()
    return {**figures, **half, "questions": len(places), "chunks": count}


def _places(text: Text, loaded: str) -> dict[str, list[list[tuple[int, int]]]]:
    """Where the evidence stands in what was loaded, which may have other blanks than the file."""
    moved = dict[str, list[list[tuple[int, int]]]]()
    kept = [at for at, char in enumerate(loaded) if not char.isspace()]
    rank = dict[int, int]()  # by position in the file, how many characters that are no blanks stand before
    seen = 0
    for at, char in enumerate(text.data):
        rank[at] = seen
        seen += not char.isspace()
    if seen != len(kept):
        raise ValueError(f"{text.name}: {seen} characters in the file, {len(kept)} in what was loaded")
    for question, pieces in text.questions.items():
        moved[question] = [[(kept[rank[a]], kept[rank[b - 1]] + 1) for a, b in piece] for piece in pieces]
    return moved


def _taken(hits: Sequence["Document"], count: Callable[[str], int]) -> list[tuple[tuple[int, int], int]]:
    """The chunks' places, each with the tokens that it and those before it have."""
    taken, used = [], 0
    for hit in hits:
        used += count(hit.page_content)
        taken.append(((hit.metadata["start"], hit.metadata["end"]), used))
    return taken


def abstracts(options: argparse.Namespace, way: "Chunking") -> Row:
    """Cranfield's nDCG@10 by stage."""
    from phireside.retrieval.evaluation import base_of, evaluate

    collection = cranfield(options.data)
    folder = options.folder / "chunking" / re.sub(r"\W+", "-", f"abstracts-{_said(way)}")
    base = base_of(collection, folder, model(options), chunking=way)
    result = evaluate(base, collection.queries, collection.judgments, k=10)
    base.close()
    return Row(f"abstracts, {_said(way)}", {stage.name: stage.mean("nDCG") for stage in result.stages})
