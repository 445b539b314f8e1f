"""Row 21: whatever an uploaded file is called, it is stored under our own id, and its name is a label and no path."""

from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding

from phireside.errors import DocumentError
from phireside.retrieval.knowledge_base import KnowledgeBase
from phireside.retrieval.loading import label, load_bytes

Figure = Callable[[int, str], None]

READ = {  # names that say what kind the file is, and what may be shown of them
    "../../x.txt": "x.txt",
    "..\\..\\x.txt": "x.txt",
    "/etc/passwd.txt": "passwd.txt",
    "C:\\Windows\\system.txt": "system.txt",
    "\\\\server\\share\\x.txt": "x.txt",
    f"{'x' * 300}.txt": f"{'x' * 99}…{'x' * 16}.txt",
    "a\0b.txt": "ab.txt",
    "CON.txt": "CON.txt",
    "nul.txt": "nul.txt",
    "\u202egpj.exe.txt": "gpj.exe.txt",
    "a\nb.txt": "a b.txt",
    "<img src=x onerror=alert(1)>.txt": "<img src=x onerror=alert(1)>.txt",
    "a;rm -rf ~;.txt": "a;rm -rf ~;.txt",
    "$(touch canary).txt": "$(touch canary).txt",
    "%2e%2e%2fx.txt": "%2e%2e%2fx.txt",
    "\ud800.txt.txt": "txt.txt",
    "file:///etc/x.txt": "x.txt",
    "-rf.txt": "-rf.txt",
    "'; DROP TABLE documents; --.txt": "'; DROP TABLE documents; --.txt",
    ".hidden.txt": "hidden.txt",
    "dot.txt.": "dot.txt",
}
REFUSED = ["", ".", "..", "/", "x", "x.exe", "x.txt\0.exe", "x.txt/", "COM1", "\u202etxt.exe"]


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnowledgeBase:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "deeper")
    return KnowledgeBase(tmp_path / "deep" / "deeper" / "base", DeterministicFakeEmbedding(size=8))


def test_uploads_are_stored_under_our_own_id_and_nothing_is_overwritten(
    base: KnowledgeBase, tmp_path: Path, figure: Figure
) -> None:
    own = files_below(tmp_path)
    for number, name in enumerate(READ):
        report = base.add_upload(name, f"The text of upload {number}.".encode())
        assert (report.added, report.failed) == (1, ())
    found = base.documents()
    sources = {info.source for info in found}
    assert len(sources) == len(READ)
    assert all(source.startswith("upload:") and source.isascii() and "/" not in source for source in sources)
    assert {info.title for info in found} == set(READ.values())
    outside = [path for path in files_below(tmp_path) - own if path.parent.name != "base" and path.suffix]
    assert [path for path in outside if not path.name.startswith("base")] == []
    figure(21, f"0 files outside in {len(READ)} uploads, 0 of them overwritten, all names shown as one line of text")


def test_the_same_name_with_other_bytes_is_another_document(base: KnowledgeBase, figure: Figure) -> None:
    for text in (b"one session", b"another session", b"one session"):
        base.add_upload("report.txt", text)
    assert [info.title for info in base.documents()] == ["report.txt"] * 2
    assert {chunk.page_content for info in base.documents() for chunk in base.chunks(info.id)} == {
        "one session",
        "another session",
    }
    figure(21, "the same name from two sessions: 2 documents, 0 overwritten")


@pytest.mark.parametrize("name", REFUSED)
def test_names_that_say_no_kind_are_refused(name: str) -> None:
    with pytest.raises(DocumentError, match="kind that is not known"):
        load_bytes(name, b"text")


@pytest.mark.parametrize("name", [*READ, *REFUSED])
def test_a_label_is_one_short_visible_line(name: str) -> None:
    shown = label(name)
    assert 0 < len(shown) <= 120
    assert shown.isprintable()
    assert not set("/\\") & set(shown)
