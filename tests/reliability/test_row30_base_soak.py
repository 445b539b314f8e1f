"""Row 30, the base's part: uploads and deletions without end. Memory, files, threads, database and index level off."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Rounds of uploads, searches and removals beside texts that stay; a line of figures after each round.
WORKER = """
import gc, json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import psutil
from hashed import HashedEmbeddings
from phireside.retrieval import Chunking, KnowledgeBase, vectors

vectors.WRITE_AFTER = 50
folder, rounds, uploads = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
base = KnowledgeBase(folder, HashedEmbeddings(), chunking=Chunking("paragraphs", 50, 0))
base.add_texts([f"stays {n}" for n in range(100)], ids=[str(n) for n in range(100)])
process, wrong = psutil.Process(), 0
for number in range(rounds):
    sources = []
    for upload in range(uploads):
        word = f"word{number}of{upload}"
        paragraphs = [f"{word} paragraph {part} " + "filler " * 20 for part in range(20)]
        report = base.add_upload(f"{word}.txt", "\\n\\n".join(paragraphs).encode())
        [source] = [each.source for each in base.documents() if each.id == report.documents[0]]
        sources.append(source)
        part = str(base.chunks(report.documents[0])[3].id)
        wrong += base.dense(base.vectors([part])[0], 1)[0][0] != part
        wrong += not base.keyword(word, 5)
    for source in sources:
        wrong += not base.remove(source)
    wrong += len(base.documents()) or len(base.dense([1.0] * 16, 200)) != 100
    gc.collect()
    with base._database.reading() as connection:
        removed = connection.execute("SELECT count(*) FROM removed").fetchone()[0]
    print(json.dumps({
        "rss": process.memory_info().rss,
        "fds": process.num_fds() if hasattr(process, "num_fds") else 0,
        "threads": process.num_threads(),
        "children": len(process.children(recursive=True)),
        "removed": removed,
        "database": sum(file.stat().st_size for file in folder.glob("base.sqlite3*")),
        "index": sum(file.stat().st_size for file in folder.glob("index.faiss*")),
        "wrong": wrong,
    }), flush=True)
base.close()
"""


@pytest.mark.parametrize(
    ("rounds", "uploads"), [(5, 4), pytest.param(20, 10, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_uploads_and_deletions_leave_nothing_behind(
    tmp_path: Path, root: Path, figure: Callable[[int, str], None], rounds: int, uploads: int
) -> None:
    command = [sys.executable, "-c", WORKER, str(root / "tests" / "plugins"), str(tmp_path / "base")]
    child = subprocess.run([*command, str(rounds), str(uploads)], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    assert len(lines) == rounds
    early, late = lines[rounds // 4], lines[-1]
    grown = {name: late[name] - early[name] for name in late}
    done = uploads * (rounds - 1 - rounds // 4)
    figure(
        30,
        f"{rounds * uploads} uploads and deletions: {grown['rss'] / 1e6 * 100 / done:+.2f} MB/100 uploads, "
        f"{grown['fds']:+d} fds, {grown['threads']:+d} threads, database {late['database'] / 1e3:.0f} KB "
        f"({grown['database'] / 1e3:+.0f}), index {late['index'] / 1e3:.0f} KB ({grown['index'] / 1e3:+.0f})",
    )
    assert late["wrong"] == 0
    assert grown["rss"] < 5e6
    assert max(grown[name] for name in ("fds", "threads", "children", "index")) <= 0
    assert grown["database"] <= 100_000
    assert max(line["removed"] for line in lines) <= 50 + 3 * 20 * uploads
    assert list((tmp_path / "base").glob("*.part")) == []
