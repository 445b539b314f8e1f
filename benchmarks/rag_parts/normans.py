"""*Normans* as questions, paragraphs and a retriever over them."""

import argparse
import atexit
import json
import random
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from phireside.models.embeddings import embeddings
from phireside.retrieval import KnowledgeBase
from phireside.retrieval.retriever import HybridRetriever
from phireside.retrieval.search import Search

_folder = tempfile.mkdtemp(prefix="normans-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)


@dataclass(frozen=True)
class Question:
    """A question, the paragraph that it was asked about, and its answers; none if it has none."""

    text: str
    paragraph: int
    known: tuple[str, ...]


def read(path: Path) -> tuple[list[str], list[Question]]:
    """Paragraphs and questions, in their order."""
    articles = json.loads(path.read_text("utf-8"))["data"]
    paragraphs = [each for article in articles for each in article["paragraphs"]]
    questions = [
        Question(asked["question"], number, tuple(answer["text"] for answer in asked["answers"]))
        for number, paragraph in enumerate(paragraphs)
        for asked in paragraph["qas"]
    ]
    return [each["context"] for each in paragraphs], questions


def chosen(questions: list[Question], limit: int) -> list[Question]:
    """So many of them by chance, the same each time, half of them with an answer; 0 = all."""
    if not limit:
        return questions
    shuffled = random.Random(7).sample(questions, len(questions))
    with_answer = [each for each in shuffled if each.known][: (limit + 1) // 2]
    without = [each for each in shuffled if not each.known][: limit // 2]
    return sorted([*with_answer, *without], key=questions.index)


@cache
def base(paragraphs: tuple[str, ...]) -> KnowledgeBase:
    """The paragraphs in a base that lasts as long as the program, each a passage."""
    store = KnowledgeBase(Path(_folder) / f"{hash(paragraphs)}.sqlite3", embeddings())
    store.add_documents([Document(text, id=f"p{number}") for number, text in enumerate(paragraphs)])
    return store


def retriever(paragraphs: list[str], passages: int) -> BaseRetriever:
    """What Phireside's default search finds among the paragraphs."""
    return HybridRetriever(base=base(tuple(paragraphs)), how=Search(k=passages))


def load(options: argparse.Namespace) -> tuple[list[str], list[Question]]:
    """What the command line asks for."""
    paragraphs, questions = read(options.data)
    return paragraphs, chosen(questions, options.limit)
