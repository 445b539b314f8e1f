"""Row 12, the base's part: a full disk, a read-only one, no rights. A clear message, old data intact, and it recovers.

Tests may run as root, whom rights do not stop: what needs them runs in a child that gives its own up.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hashed import HashedEmbeddings

from phireside.errors import KnowledgeError
from phireside.retrieval import KnowledgeBase

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits and rights of POSIX")

CHILD = """
import json, os, resource, sys
sys.path.insert(0, sys.argv[1])
folder, how, texts = sys.argv[2], sys.argv[3], int(sys.argv[4])
from pathlib import Path
import faiss
from hashed import HashedEmbeddings
from phireside.errors import KnowledgeError
from phireside.retrieval import KnowledgeBase, vectors
vectors.WRITE_AFTER = 1

def tried(action):
    try:
        return action()
    except KnowledgeError as error:
        return {"message": error.message, "hint": error.hint}

def work():
    base = KnowledgeBase(Path(folder), HashedEmbeddings())
    if how == "limited":
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    added = tried(lambda: len(base.add_texts([f"new{n} " + "x" * 1000 for n in range(texts)])))
    found = tried(lambda: [each.page_content for each in base.similarity_search("old1", 3)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    again = tried(lambda: len(base.add_texts(["room again"])))
    return {"added": added, "found": found, "again": again}

if how == "nobody" and os.getuid() == 0:
    os.setuid(65534)
print(json.dumps(tried(work)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A base with four texts, and nothing in its log."""
    return filled(tmp_path / "base")


def filled(folder: Path) -> Path:
    base = KnowledgeBase(folder, HashedEmbeddings())
    base.add_texts([f"old{n} text" for n in range(4)], ids=list("abcd"))
    base.close()
    return folder


def child(root: Path, folder: Path, how: str, texts: int = 1) -> dict[str, dict[str, str]]:
    command = [sys.executable, "-c", CHILD, str(root / "tests" / "plugins"), str(folder), how, str(texts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    answer: dict[str, dict[str, str]] = json.loads(done.stdout)
    return answer


def intact(folder: Path) -> bool:
    base = KnowledgeBase(folder, HashedEmbeddings())
    kept = [each.page_content for each in base.get_by_ids(list("abcd"))] == [f"old{n} text" for n in range(4)]
    kept = kept and base.similarity_search("old1", 1)[0].page_content == "old1 text"
    base.close()
    return kept


def test_a_file_that_may_not_grow_is_told_and_old_data_stay(
    folder: Path, root: Path, figure: Callable[[int, str], None]
) -> None:
    answer = child(root, folder, "limited", texts=2000)
    assert "disk" in answer["added"]["message"]
    assert "Free" in answer["added"]["hint"]
    assert "old1 text" in answer["found"]
    assert answer["again"] == 1  # in the same process, once there is room
    assert intact(folder)
    figure(12, "base: a file-size limit is told, nothing lost, the next text is added when it is gone")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB, where one may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a disk of 1 MB")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_told_and_old_data_stay(small_disk: Path, figure: Callable[[int, str], None]) -> None:
    folder = filled(small_disk / "base")
    base = KnowledgeBase(folder, HashedEmbeddings())
    with pytest.raises(KnowledgeError, match="disk") as caught:
        base.add_texts([f"new{n} " + "x" * 1000 for n in range(2000)])
    assert "Free" in caught.value.hint
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - 40_000))
    with pytest.raises(KnowledgeError, match="disk"):
        base.add_texts(["x" * 100_000])
    assert base.similarity_search("old1", 1)[0].page_content == "old1 text"
    ballast.unlink()
    assert base.add_texts(["room again"], ids=["new"]) == ["new"]
    base.close()
    assert intact(folder)
    figure(12, "base on a full disk of 1 MB: told twice, nothing lost, goes on when there is room")


def test_an_index_file_that_cannot_be_written_is_only_a_line_in_the_log(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "index.faiss").mkdir()  # nothing can be put in its place
    base = KnowledgeBase(folder, HashedEmbeddings())
    base.add_texts([f"new{n}" for n in range(300)])
    base.write_index()
    assert base.similarity_search("old1", 1)[0].page_content == "old1 text"
    base.close()
    assert "could not be written, and is not needed" in caplog.text
    assert list(folder.glob("*.part")) == []


@pytest.mark.parametrize("locked", ["folder", "parent"])
def test_no_rights_are_told_and_old_data_stay(tmp_path: Path, root: Path, locked: str) -> None:
    place = Path("/tmp") / f"phireside-row12-{os.getpid()}"  # pytest's own folders are closed to others
    shutil.rmtree(place, ignore_errors=True)
    try:
        folder = filled(place / "base")
        place.chmod(0o755)
        folder.chmod(0o755)
        (folder / "base.sqlite3").chmod(0o644)
        answer = child(root, place / "new" if locked == "parent" else folder, "nobody")
        told = answer.get("added", answer)
        assert locked == "parent" or "old1 text" in answer["found"]
        assert told["hint"]
        assert any(word in told["message"] for word in ("read-only", "cannot be opened", "Permission denied"))
        assert intact(folder)
    finally:
        shutil.rmtree(place)


def test_a_base_that_can_only_be_read_is_searched(small_disk: Path, figure: Callable[[int, str], None]) -> None:
    folder = filled(small_disk / "base")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    base = KnowledgeBase(folder, HashedEmbeddings())
    assert base.similarity_search("old1", 1)[0].page_content == "old1 text"
    assert [key for key, _ in base.keyword("old2", 3)] == ["c"]
    with pytest.raises(KnowledgeError, match="read-only") as caught:
        base.add_texts(["new"])
    assert "right to write" in caught.value.hint
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    other = KnowledgeBase(folder, HashedEmbeddings())
    other.add_texts(["from elsewhere"])
    with pytest.raises(KnowledgeError, match="changed by another program") as caught:
        base.similarity_search("old1")
    assert "anew" in caught.value.hint
    base.close()
    other.close()
    figure(12, "base on a read-only disk: searched; adding is told; a change by others is told")


@pytest.mark.parametrize("place", ["/proc/base", "/dev/null/base", "file/base", "a\0b"])
def test_a_place_that_cannot_be_a_folder_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KnowledgeError, match="cannot be created") as caught:
        KnowledgeBase(tmp_path / place, HashedEmbeddings())
    assert "folder" in caught.value.hint
