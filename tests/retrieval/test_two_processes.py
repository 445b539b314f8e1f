"""Two processes add to one base at once: everything is there once, in order, and can be found."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hashed import HashedEmbeddings

from phireside.retrieval import Chunking, KnowledgeBase

# Adds the files from..to of a folder as soon as it reads a line; small batches, so that the two take turns.
WRITER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import faiss
from hashed import HashedEmbeddings
from phireside.retrieval import Chunking, KnowledgeBase, adding, vectors

adding.BATCH, vectors.WRITE_AFTER = 3, 5
base = KnowledgeBase(Path(sys.argv[2]), HashedEmbeddings(), chunking=Chunking("paragraphs", 8, 0))
files = [Path(sys.argv[3], f"{n:02}.txt") for n in range(int(sys.argv[4]), int(sys.argv[5]))]
print("ready", flush=True)
sys.stdin.readline()
report = base.add_files(files)
base.add_texts([f"loose {n} of {sys.argv[4]}" for n in range(9)], ids=[f"{sys.argv[4]}-{n}" for n in range(9)])
base.remove(str(files[10]))
base.close()
print(json.dumps([report.added, report.changed, report.unchanged, len(report.failed)]))
"""
FILES = 30  # the first writer adds 0..19, the second 10..29


@pytest.fixture
def added(tmp_path: Path, root: Path) -> Iterator[tuple[KnowledgeBase, list[list[int]]]]:
    """The base, and what the two have told."""
    folder, base = tmp_path / "files", tmp_path / "base"
    folder.mkdir()
    for n in range(FILES):
        (folder / f"{n:02}.txt").write_text("\n\n".join(paragraphs(n)))
    command = [sys.executable, "-c", WRITER, str(root / "tests" / "plugins"), str(base), str(folder)]
    writers = [
        subprocess.Popen([*command, *each], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for each in (("0", "20"), ("10", "30"))
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    told = [json.loads(writer.communicate(timeout=120)[0]) for writer in writers]
    opened = KnowledgeBase(base, HashedEmbeddings(), chunking=Chunking("paragraphs", 8, 0))
    yield opened, told
    opened.close()


def paragraphs(number: int) -> list[str]:
    return [f"File {number} part {part} word{number * 7 % 11}." for part in range(3)]


def test_files_of_both_are_there_once_in_order_and_found(added: tuple[KnowledgeBase, list[list[int]]]) -> None:
    base, told = added
    first, second = told
    assert first[3] == second[3] == 0
    assert sum(first[:3]) == sum(second[:3]) == 20
    kept = {int(Path(info.source).stem): info for info in base.documents()}
    # Each removed one file of the overlap; the first one's was 10.txt, which the second may add after that.
    assert set(range(FILES)) - {20} - set(kept) <= {10}
    for number, info in kept.items():
        parts = base.chunks(info.id)
        assert [part.page_content for part in parts] == paragraphs(number)
        assert [part.metadata["position"] for part in parts] == [0, 1, 2]
    expected = {part: text for info in kept.values() for part, text in texts(base, info.id)}
    expected |= {f"{who}-{n}": f"loose {n} of {who}" for who in (0, 10) for n in range(9)}
    assert_index(base, expected)


def texts(base: KnowledgeBase, document: str) -> list[tuple[str, str]]:
    return [(str(part.id), part.page_content) for part in base.chunks(document)]


def assert_index(base: KnowledgeBase, expected: dict[str, str]) -> None:
    """Words, vectors and FAISS have these chunks, each once, and a search finds what comparing with all finds."""
    embeddings, ids = HashedEmbeddings(), sorted(expected)
    with base._database.reading() as connection:
        sql = "SELECT (SELECT count(*) FROM chunks), (SELECT count(*) FROM vectors), (SELECT total FROM base)"
        counts: Any = connection.execute(sql).fetchone()
        assert counts == (len(ids),) * 3
        assert base._index.current(connection).size == len(ids)
    with base._database.writing() as connection:
        connection.execute("INSERT INTO words(words, rank) VALUES ('integrity-check', 1)")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    for query in ("part 1 word3.", "loose 4"):
        vector = np.array(embeddings.embed_query(query))
        cosines = base.vectors(ids).astype(float) @ (vector / np.linalg.norm(vector))
        best = sorted((-round(float(score), 5), key) for score, key in zip(cosines, ids, strict=True))
        found = sorted((-round(score, 5), key) for key, score in base.dense(vector, len(ids)))
        assert found == best
        assert {key for key, _ in base.keyword("word3 loose", len(ids))} == {
            key for key, text in expected.items() if "word3." in text or "loose" in text
        }
