"""Vectors in memory, in segments that never change, and the search for the nearest. Knows numbers and vectors, no file.

A flat segment is searched exactly. A graph (HNSW: Malkov and Yashunin, arXiv 1603.09320) finds nearly all of the
nearest; where few of its vectors are allowed it is searched as a flat one. Scores are computed anew in double precision
for the nearest, so that equal vectors have equal scores whatever segment they are in.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phireside.retrieval.embedder import Vectors

Numbers = NDArray[np.int64]
Scores = NDArray[np.float64]
Flags = NDArray[np.bool_]

# HNSW's M, efConstruction and efSearch: building takes minutes, searching milliseconds, so the search does the work.
# Recall@10 by efSearch of 60,000 vectors that lie like embedded texts, without clusters, and CPU seconds of building:
#   M 16, efConstruction 80: 0.926 at 128, 0.972 at 256, 0.990 at 512; 11 s
#   M 32, efConstruction 80: 0.969 at 128, 0.992 at 256, 0.997 at 512; 13 s
#   the same, 300,000 vectors: 0.914, 0.967, 0.987; 116 s
# Around 1,000 centres all is easier: 300,000 vectors, M 32, at 128: 0.960 in 30 s with efConstruction 40, 1.000 in 60 s
# with 80. (`python benchmarks/retrieval.py --part graph --sizes 60000 300000`)
LINKS, BUILD_WIDTH, SEARCH_WIDTH = 32, 80, 512
FEW = 0.1  # share of a graph's vectors; fewer than that are compared one by one, for the graph would pass them by
_MARGIN, _TIE = 16, 1e-5  # hits fetched beyond those asked for; scores nearer than that may come in any order


def library() -> Any:
    """FAISS, imported when it is first used; its stubs lack half of it."""
    import faiss

    return faiss


def empty_index(size: int, *, graph: bool) -> Any:
    """A new FAISS index, flat or a graph, for vectors of length 1 and this many numbers."""
    faiss = library()
    if not graph:
        return faiss.IndexFlatIP(size)
    index = faiss.IndexHNSWFlat(size, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILD_WIDTH
    return index


@dataclass(frozen=True)
class Segment:
    """Vectors in one FAISS index.

    Attributes:
        index: flat or a graph; its position n has the vector of `numbers[n]`.
        numbers: of the chunks, ascending; shape (vectors,).
        alive: which are still in the base; None = all.
        file: whether it is the file's.
        owners: what the index points into, which has to live as long.
    """

    index: Any
    numbers: Numbers
    alive: Flags | None = None
    file: bool = False
    owners: tuple[Any, ...] = ()

    @cached_property
    def size(self) -> int:
        """Vectors still in the base."""
        return len(self.numbers) if self.alive is None else int(np.count_nonzero(self.alive))

    @cached_property
    def storage(self) -> Any:
        """The index that compares with every vector."""
        faiss = library()
        return faiss.downcast_index(self.index.storage) if isinstance(self.index, faiss.IndexHNSW) else self.index

    def without(self, removed: Numbers) -> "Segment":
        """The same, with these numbers dead; those that it does not have are nothing to it."""
        gone = np.isin(self.numbers, removed)
        if not gone.any():
            return self
        return replace(self, alive=~gone if self.alive is None else self.alive & ~gone)

    def search(self, query: Vectors, k: int, allowed: Numbers | None) -> tuple[Numbers, Scores]:
        """At most k nearest, in any order, with their exact cosines."""
        faiss = library()
        mask = self.alive
        if allowed is not None:
            among = np.isin(self.numbers, allowed, assume_unique=True)
            mask = among if mask is None else mask & among
        count = len(self.numbers) if mask is None else int(np.count_nonzero(mask))
        k = min(k, count)
        if not k:
            return np.zeros(0, np.int64), np.zeros(0)
        chosen = None if mask is None else faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        positions = self._graph(query, k, chosen, count) if self.index is not self.storage else None
        if positions is None or len(positions) < k:
            found = self.storage.search(query[None], k, params=faiss.SearchParameters(sel=chosen))[1][0]
            positions = found[found >= 0]
        return self.numbers[positions], self.rows(positions).astype(np.float64) @ query.astype(np.float64)

    def _graph(self, query: Vectors, k: int, chosen: Any, count: int) -> Numbers | None:
        """Positions found by walking the graph; None where too few of its vectors are allowed."""
        faiss = library()
        share = count / len(self.numbers)
        if share < FEW:
            return None
        params = faiss.SearchParametersHNSW(sel=chosen, efSearch=int(max(SEARCH_WIDTH, 2 * k) / share))
        found: Numbers = self.index.search(query[None], k, params=params)[1][0]
        return found[found >= 0]

    def rows(self, positions: Numbers) -> Vectors:
        """Vectors, of shape (len(positions), size)."""
        found: Vectors = self.storage.reconstruct_batch(positions)
        return found


@dataclass(frozen=True)
class Copy:
    """All vectors of a base at one generation.

    Attributes:
        generation: of the base.
        last: the highest number ever seen.
        segments: the file's first.
        lost: vectors that were removed since the file was written.
    """

    generation: int
    last: int
    segments: tuple[Segment, ...]
    lost: int = 0

    @property
    def size(self) -> int:
        """Vectors in the base."""
        return sum(segment.size for segment in self.segments)

    @property
    def dimensions(self) -> int:
        """Numbers of a vector; 0 if there is none."""
        return int(self.segments[0].index.d) if self.segments else 0

    @property
    def changed(self) -> int:
        """Vectors that were added and removed since the file was written."""
        return self.lost + sum(each.size for each in self.segments if not each.file)

    def nearest(self, query: Vectors, k: int, allowed: Numbers | None = None) -> tuple[Numbers, Scores]:
        """The k nearest, best first, and all that are as near as the last of them.

        Args:
            query: of length 1, shape (size,).
            k: at least 1.
            allowed: numbers to choose from, ascending; None = all.
        """
        fetch = k + _MARGIN
        while True:
            parts = [segment.search(query, fetch, allowed) for segment in self.segments]
            numbers = np.concatenate([np.zeros(0, np.int64), *(part[0] for part in parts)])
            scores = np.concatenate([np.zeros(0), *(part[1] for part in parts)])
            if len(scores) <= k:
                return _best(numbers, scores, len(scores))
            bar = np.partition(scores, -k)[-k]
            if not any(len(part[1]) == fetch and part[1].min() >= bar - _TIE for part in parts):
                return _best(numbers, scores, int((scores >= bar).sum()))
            fetch *= 4  # more of them may be as near


def _best(numbers: Numbers, scores: Scores, count: int) -> tuple[Numbers, Scores]:
    order = np.lexsort((numbers, -scores))[:count]
    return numbers[order], scores[order]


def merged(older: Segment, newer: Segment) -> Segment:
    """One flat segment; segments double in size, so each vector is copied a few times only."""
    kept = np.arange(len(older.numbers)) if older.alive is None else np.flatnonzero(older.alive)
    index = empty_index(older.index.d, graph=False)
    for segment, positions in ((older, kept), (newer, np.arange(len(newer.numbers)))):
        index.add(segment.rows(positions))
    return Segment(index, np.concatenate([older.numbers[kept], newer.numbers]))
