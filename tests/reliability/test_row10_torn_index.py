"""Row 10: a torn, rotten, mixed or missing index file. A search finds what it should, or says that the base is damaged.

What a search finds is compared with the cosines of vectors that the test made itself.
"""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hashed import HashedEmbeddings

from phireside.errors import IndexDamagedError, KnowledgeError
from phireside.retrieval import KnowledgeBase
from phireside.retrieval import vectors as vectors_module

Found = list[tuple[str, str, float]]
TEXTS = {f"id{n}": f"word{n} word{n % 7} word{n % 11} shared" for n in range(400)}
QUERIES = ("word3 word5", "shared", "word398")


def truth(texts: dict[str, str]) -> list[Found]:
    """What a search has to find: id, text and cosine of the nearest five."""
    embeddings = HashedEmbeddings()
    matrix = np.array(embeddings.embed_documents(list(texts.values())))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    found = []
    for query in QUERIES:
        vector = np.array(embeddings.embed_query(query))
        cosines = matrix @ vector / np.linalg.norm(vector)
        best = sorted((-round(float(each), 4), key) for each, key in zip(cosines, texts, strict=True))[:5]
        found.append([(key, texts[key], -score) for score, key in best])
    return found


def searched(folder: Path) -> list[Found] | str:
    """What is found by a base that is opened anew; or the name of the error, and "?" if it does not say what to do."""
    try:
        base = KnowledgeBase(folder, HashedEmbeddings())
        try:
            found = [base.similarity_search_with_score(query, 5) for query in QUERIES]
        finally:
            base.close()
    except KnowledgeError as error:
        return type(error).__name__ + ("" if error.hint else "?")
    rounded = [[(str(each.id), each.page_content, round(score, 4)) for each, score in hits] for hits in found]
    return [sorted(hits, key=lambda hit: (-hit[2], hit[0])) for hits in rounded]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with its index file."""
    folder = tmp_path_factory.mktemp("row10") / "base"
    base = KnowledgeBase(folder, HashedEmbeddings())
    base.add_texts(list(TEXTS.values()), ids=list(TEXTS))
    base.write_index()
    base.close()
    assert (folder / "index.faiss").stat().st_size > 400 * 16 * 4
    assert searched(folder) == truth(TEXTS)
    return folder


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "base"))


def damage(file: Path, change: Callable[[bytearray], bytearray]) -> None:
    file.write_bytes(change(bytearray(file.read_bytes())))


def flipped(bit: int) -> Callable[[bytearray], bytearray]:
    def change(data: bytearray) -> bytearray:
        data[bit // 8] ^= 1 << bit % 8
        return data

    return change


@pytest.mark.parametrize("step", [40, pytest.param(1, marks=pytest.mark.slow)])
def test_a_cut_or_rotten_index_file_is_never_believed(
    copied: Path, figure: Callable[[int, str], None], step: int, caplog: pytest.LogCaptureFixture
) -> None:
    file, rng, expected = copied / "index.faiss", random.Random(10), truth(TEXTS)
    sound = file.read_bytes()
    bits = [rng.randrange(len(sound) * 8) for _ in range(300)][::step]
    lengths = [len(sound) * part // 100 for part in range(100)][::step]
    wrong = 0
    for change in [*map(flipped, bits), *(lambda data, n=n: data[:n] for n in lengths)]:
        file.write_bytes(sound)
        caplog.clear()
        damage(file, change)
        empty = not file.stat().st_size
        wrong += searched(copied) != expected
        assert empty or "is not the one that was written" in caplog.text
    figure(10, f"{wrong} wrong hits after {len(bits)} flipped bits and {len(lengths)} cuts in the index file")
    assert wrong == 0


@pytest.mark.parametrize("faults", [25, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_a_rotten_database_gives_its_own_chunks_or_an_error(
    copied: Path, figure: Callable[[int, str], None], faults: int
) -> None:
    file, rng, expected = copied / "base.sqlite3", random.Random(11), truth(TEXTS)
    sound, index = file.read_bytes(), (copied / "index.faiss").read_bytes()
    wrong = told = 0
    for number in range(faults):
        for stale in copied.iterdir():
            stale.unlink()
        file.write_bytes(sound)
        if number % 2:  # else all vectors are read from the database
            (copied / "index.faiss").write_bytes(index)
        damage(file, flipped(rng.randrange(len(sound) * 8)))
        found = searched(copied)
        told += isinstance(found, str)
        wrong += found not in (expected, "KnowledgeError", "IndexDamagedError")
    figure(10, f"{wrong} wrong hits after {faults} flipped bits in the database; {told} were told")
    assert wrong == 0


@pytest.mark.parametrize("faults", [8, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_rotten_words_are_noticed_and_made_anew(
    copied: Path, figure: Callable[[int, str], None], faults: int, caplog: pytest.LogCaptureFixture
) -> None:
    """FTS5 has no checksums of its own. The bits are flipped in the value that SQLite keeps for it."""
    file, rng = copied / "base.sqlite3", random.Random(13)
    sound = file.read_bytes()
    with contextlib.closing(sqlite3.connect(file)) as connection:
        [block] = max(connection.execute("SELECT block FROM words_data"), key=lambda row: len(row[0]))
    place, size = sound.index(block[-200:]) + 200 - len(block), len(block)  # on one page, or else not found
    expected, wrong, told = keywords(copied), 0, 0
    for _ in range(faults):
        file.write_bytes(sound)
        damage(file, flipped((place + rng.randrange(size)) * 8 + rng.randrange(8)))
        caplog.clear()
        found = keywords(copied)
        wrong += found not in (expected, "KnowledgeError", "IndexDamagedError")
        told += "are made anew" in caplog.text
    figure(10, f"{wrong} wrong rankings after {faults} flipped bits in the words; {told} were made anew")
    assert wrong == 0
    assert told > 0


def keywords(folder: Path) -> list[list[tuple[str, float]]] | str:
    base = KnowledgeBase(folder, HashedEmbeddings())
    try:
        return [base.keyword(query, 400) for query in QUERIES]
    except KnowledgeError as error:
        return type(error).__name__
    finally:
        base.close()


def test_a_missing_or_foreign_index_file_is_rebuilt(copied: Path, tmp_path: Path) -> None:
    file = copied / "index.faiss"
    file.unlink()
    assert searched(copied) == truth(TEXTS)
    other = KnowledgeBase(tmp_path / "other", HashedEmbeddings())
    other.add_texts([f"other {n}" for n in range(400)])
    other.write_index()
    other.close()
    shutil.copy(tmp_path / "other" / "index.faiss", file)
    assert searched(copied) == truth(TEXTS)


@pytest.mark.parametrize("which", ["old index", "old database"])
def test_old_and_new_files_do_not_mix(copied: Path, tmp_path: Path, which: str) -> None:
    old = Path(shutil.copytree(copied, tmp_path / "old"))
    base = KnowledgeBase(copied, HashedEmbeddings())
    base.delete(list(TEXTS)[:150])
    base.add_texts([f"new{n} word3 word5" for n in range(200)], ids=[f"new{n}" for n in range(200)])
    base.write_index()
    base.close()
    new = {key: text for key, text in TEXTS.items() if key not in list(TEXTS)[:150]}
    new |= {f"new{n}": f"new{n} word3 word5" for n in range(200)}
    assert searched(copied) == truth(new)
    if which == "old index":
        shutil.copy(old / "index.faiss", copied / "index.faiss")
        assert searched(copied) == truth(new)
    else:
        shutil.copy(copied / "index.faiss", old / "index.faiss")
        assert searched(old) == truth(TEXTS)


@pytest.mark.parametrize("other", [HashedEmbeddings(size=8), HashedEmbeddings(seed=1)], ids=["size", "same-size"])
def test_another_embedding_model_is_refused_before_it_finds_anything(copied: Path, other: HashedEmbeddings) -> None:
    base = KnowledgeBase(copied, other)
    for use in (base.similarity_search, lambda text: base.add_texts([text]), base.max_marginal_relevance_search):
        with pytest.raises(KnowledgeError, match="another one") as caught:
            use("shared")
        assert "reindex()" in caught.value.hint
    with pytest.raises(KnowledgeError):
        base.dense(np.ones(other.size), 1)
    base.reindex()
    assert len(base.similarity_search("word3")) == 4
    base.close()


def test_rotten_vectors_are_told_and_reindexing_mends_them(copied: Path) -> None:
    file = copied / "base.sqlite3"
    base = KnowledgeBase(copied, HashedEmbeddings())
    vector = base.vectors(["id77"])[0].tobytes()
    base.close()
    (copied / "index.faiss").unlink()
    damage(file, lambda data: data.replace(vector, b"\x01" + vector[1:]))
    assert searched(copied) == "IndexDamagedError"
    base = KnowledgeBase(copied, HashedEmbeddings())
    with pytest.raises(IndexDamagedError, match="id77"):
        base.vectors(["id77"])
    base.reindex()
    base.close()
    assert searched(copied) == truth(TEXTS)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("step", ["open", "write", "replace", "record"])
def test_dying_at_any_step_of_writing_leaves_what_was_or_what_is(
    copied: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = KnowledgeBase(copied, HashedEmbeddings())
    base.add_texts([f"new{n} word3" for n in range(300)], ids=[f"new{n}" for n in range(300)])

    def die(*_: object, **__: object) -> None:
        raise Killed

    places = {"open": (Path, "open"), "write": (vectors_module._Summing, "write"), "replace": (Path, "replace")}
    with monkeypatch.context() as patch:
        patch.setattr(*places.get(step, (vectors_module, "_record")), die)
        with pytest.raises((Killed, SystemError)):  # SystemError: through FAISS's callback
            base.write_index()
    base.close()
    assert searched(copied) == truth(TEXTS | {f"new{n}": f"new{n} word3" for n in range(300)})


# Imports once, and forks a writer for every line that it reads.
NURSERY = """
import os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import faiss
from hashed import HashedEmbeddings
from phireside.retrieval import KnowledgeBase, vectors

def write():
    vectors.WRITE_AFTER = 1
    base = KnowledgeBase(Path(sys.argv[1]), HashedEmbeddings())
    for n in range(len(base.get_by_ids([f"k{n}" for n in range(10_000)])), 10_000):
        base.add_texts([f"word{n} word{n % 7} shared"], ids=[f"k{n}"])
        os.write(1, b"saved %d\\n" % n)
        base.write_index()

for line in sys.stdin:
    child = os.fork()
    if not child:
        write()
    os.write(1, b"child %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"gone 0\\n")
"""


def killed(nursery: "subprocess.Popen[str]", seconds: float) -> int:
    """The last chunk that a writer acknowledged, killed so long after its first one; -1 if there was none."""
    assert nursery.stdin
    assert nursery.stdout
    nursery.stdin.write("go\n")
    nursery.stdin.flush()
    child, last = 0, -1
    for line in nursery.stdout:
        what, number = line.split()
        if what == "child":
            child = int(number)
        elif what == "gone":
            break
        else:
            if last < 0:
                time.sleep(seconds)
                os.kill(child, signal.SIGKILL)
            last = int(number)
    return last


@pytest.mark.skipif(sys.platform == "win32", reason="forks, and kills by SIGKILL")
@pytest.mark.parametrize("kills", [12, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_kill_leaves_everything_acknowledged_and_nothing_by_half(
    tmp_path: Path, root: Path, figure: Callable[[int, str], None], kills: int
) -> None:
    rng, wrong, last = random.Random(12), 0, -1
    command = [sys.executable, "-c", NURSERY, str(tmp_path / "base"), str(root / "tests" / "plugins")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        for _ in range(kills):
            last = max(last, killed(nursery, rng.uniform(0, 0.1)))
            texts = {f"k{n}": f"word{n} word{n % 7} shared" for n in range(last + 1)}
            extra = {f"k{last + 1}": f"word{last + 1} word{(last + 1) % 7} shared"}
            wrong += searched(tmp_path / "base") not in (truth(texts), truth(texts | extra))
        assert nursery.stdin
        nursery.stdin.close()
    figure(10, f"{wrong} wrong or lost after {kills} kills while adding and writing; 95 % bound {3 / kills:.0%}")
    assert wrong == 0
    assert last >= kills - 1  # each writer wrote something
