"""What a base is about: its chunks in topics, and as points of a map, near each other where they mean the same.

Made of the vectors that are stored, so that no model is needed. The same chunks give the same map, in whatever order
they were added. Topics have key words; `phireside.chains.naming` lets a language model give them names.
"""

import re
from collections import Counter
from dataclasses import dataclass
from math import log, sqrt
from pathlib import Path

import numpy as np
from langchain_core.documents import Document
from numpy.typing import NDArray

from phireside.errors import KnowledgeError
from phireside.retrieval.database import Database, expecting_sound
from phireside.retrieval.documents import documents_by_id, vectors_of
from phireside.retrieval.schema import BASE_FILE

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]

SAMPLE = 2000  # chunks that a map is made of, where there are more
MOST_TOPICS = 12
_WORDS, _NEAREST = 6, 12  # of a topic that are given out
_STARTS = 4  # of k-means; the best one counts
_WORD = re.compile(r"[^\W\d_]{3,30}")


@dataclass(frozen=True)
class Topic:
    """Chunks that are near each other.

    Attributes:
        words: that tell them from the others, the most telling first; empty where there are no words.
        chunks: how many of those on the map.
        passages: the ones nearest to its middle, the nearest first.
    """

    words: tuple[str, ...]
    chunks: int
    passages: tuple[Document, ...]


@dataclass(frozen=True)
class Point:
    """A chunk on the map.

    Attributes:
        passage: the chunk.
        x, y: its place; only distances mean something.
        topic: its place in the map's topics, from 0.
    """

    passage: Document
    x: float
    y: float
    topic: int


@dataclass(frozen=True)
class TopicMap:
    """A base in topics.

    Attributes:
        points: the chunks on the map, a sample if the base has more of them.
        topics: the largest first.
        chunks: of the whole base.
        shown: share of the differences between vectors that two dimensions can show, 0 to 1.
    """

    points: tuple[Point, ...]
    topics: tuple[Topic, ...]
    chunks: int
    shown: float


def topic_map(folder: Path, *, sample: int = SAMPLE, topics: int | None = None) -> TopicMap:
    """A map of a base.

    k-means of the vectors (of length 1, so that near means a high cosine). The plane is that of the two principal
    components of the topics' middles, each as heavy as its topic: what lies between topics is seen best in it.

    Args:
        folder: of the base.
        sample: most chunks on the map. Those are taken whose texts' hashes are the lowest: a random sample, but always
            the same one, that changes little when chunks are added.
        topics: how many; None = more for more chunks, at most 12.

    Raises:
        KnowledgeError: there is no base there, or it cannot be read.
        IndexDamagedError: what is stored is not what was written.
    """
    chunks, passages, vectors = _sampled(folder, sample)
    if not passages:
        return TopicMap((), (), chunks, 0.0)
    labels, middles = _clustered(vectors, topics or min(MOST_TOPICS, round(sqrt(len(passages) / 2))))
    places, shown = _plane(vectors, labels, middles)
    words = _key_words([each.page_content for each in passages], labels, len(middles))
    found = []
    for number, middle in enumerate(middles):
        inside = np.flatnonzero(labels == number)
        nearest = inside[np.argsort(-(vectors[inside] @ middle), kind="stable")[:_NEAREST]]
        found.append(Topic(words[number], len(inside), tuple(passages[at] for at in nearest)))
    points = (Point(each, float(x), float(y), int(label))
              for each, (x, y), label in zip(passages, places, labels, strict=True))  # fmt: skip
    return TopicMap(tuple(points), tuple(found), chunks, shown)


def generation(folder: Path) -> int:
    """A number that grows with every change of a base: while it is the same, so is the map. Raises as `topic_map`."""
    database = _database(folder)
    try:
        with database.reading() as connection:
            number: int = connection.execute("SELECT generation FROM base").fetchone()[0]
    finally:
        database.close()
    return number


def _sampled(folder: Path, sample: int) -> tuple[int, list[Document], Matrix]:
    """How many chunks there are, and some of them with their vectors."""
    database = _database(folder)
    try:
        with database.reading() as connection:
            (chunks,) = connection.execute("SELECT total FROM base").fetchone()
            rows = connection.execute("SELECT id FROM chunks ORDER BY hash, id LIMIT ?", (sample,))
            ids = [each for (each,) in rows]
            passages, vectors = documents_by_id(connection, ids), vectors_of(connection, ids)
    finally:
        database.close()
    with expecting_sound():
        return chunks, passages, np.array([vectors[each] for each in ids], np.float64)


def _database(folder: Path) -> Database:
    if not (folder / BASE_FILE).exists():
        raise KnowledgeError(f"There is no base in {folder}.", hint="It may have been deleted.")
    return Database(folder)


def _clustered(vectors: Matrix, count: int) -> tuple[Labels, Matrix]:
    """Each vector's topic, the largest topic being 0, and the topics' middles."""
    from sklearn.cluster import KMeans  # type: ignore[import-untyped]  # a second to import, and only maps need it
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    count = max(1, min(count, len(np.unique(vectors, axis=0))))
    with threadpool_limits(1):  # sums of several threads would differ in their last digits from run to run
        made = KMeans(count, n_init=_STARTS, random_state=0).fit(vectors)
    sizes = np.bincount(made.labels_, minlength=count)
    order = np.argsort(-sizes, kind="stable")
    return np.argsort(order)[made.labels_], made.cluster_centers_[order]


def _plane(vectors: Matrix, labels: Labels, middles: Matrix) -> tuple[Matrix, float]:
    """Places of shape (len(vectors), 2), and the share of the variance that is in them."""
    centre = vectors.mean(axis=0)
    away = vectors - centre
    spread = away
    if len(middles) > 2:
        spread = np.sqrt(np.bincount(labels))[:, None] * (middles - centre)
    _, _, axes = np.linalg.svd(spread, full_matrices=False)
    axes = axes[:2]
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.sign(axes[np.arange(len(axes)), largest])[:, None]  # else a library may mirror it
    places = np.zeros((len(vectors), 2))
    places[:, : len(axes)] = away @ axes.T
    total = float((away**2).sum())
    return places, float((places**2).sum()) / total if total > 1e-9 else 0.0


def _key_words(texts: list[str], labels: Labels, count: int) -> list[tuple[str, ...]]:
    """For each topic the words that many of its chunks have and few others.

    Class-based TF-IDF (Grootendorst, "BERTopic", arXiv 2203.05794), of chunks with the word instead of its occurrences:
    a word that one chunk repeats tells little about the others.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # type: ignore[import-untyped]

    inside = [Counter[str]() for _ in range(count)]
    for text, label in zip(texts, labels, strict=True):
        inside[label].update(set(_WORD.findall(text.lower())) - ENGLISH_STOP_WORDS)
    everywhere = sum(inside, Counter[str]())
    usual = len(texts) / count

    def telling(words: Counter[str]) -> tuple[str, ...]:
        ranked = sorted(words, key=lambda word: (-words[word] * log(1 + usual / everywhere[word]), word))
        chosen: list[str] = []
        for word in ranked:
            if not any(word.startswith(each) or each.startswith(word) for each in chosen):  # stove, stoves
                chosen.append(word)
            if len(chosen) == _WORDS:
                break
        return tuple(chosen)

    return [telling(words) for words in inside]
