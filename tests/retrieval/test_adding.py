"""Documents into a base: only what is new or changed costs anything, and a failure changes nothing."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hashed import HashedEmbeddings

from phireside.errors import DocumentError, KnowledgeError
from phireside.retrieval import Chunking, KnowledgeBase

LONG_AGO = time.time() - 1000


@pytest.fixture
def embeddings() -> HashedEmbeddings:
    return HashedEmbeddings()


@pytest.fixture
def base(tmp_path: Path, embeddings: HashedEmbeddings) -> Iterator[KnowledgeBase]:
    base = KnowledgeBase(tmp_path / "base", embeddings, chunking=Chunking("paragraphs", 8, 0))
    yield base
    base.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        write(tmp_path / "notes" / f"{number}.txt", f"Note {number} begins.\n\nAnd ends with word{number}.")
    return tmp_path / "notes"


def write(path: Path, text: str, at: float = LONG_AGO) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))
    return path


def texts(base: KnowledgeBase) -> list[str]:
    return [part.page_content for document in base.documents() for part in base.chunks(document.id)]


def test_unchanged_files_are_not_even_opened(
    base: KnowledgeBase, folder: Path, embeddings: HashedEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base.add_folder(folder).added == 3
    embeddings.texts.clear()
    monkeypatch.setattr("phireside.retrieval.adding._file_hash", None)
    monkeypatch.setattr("phireside.retrieval.adding.load_file", None)
    report = base.add_folder(folder)
    assert (report.unchanged, report.added, report.changed) == (3, 0, 0)
    assert embeddings.texts == []
    assert len(report.documents) == 3


def test_nothing_to_add_needs_no_model(base: KnowledgeBase, tmp_path: Path, embeddings: HashedEmbeddings) -> None:
    (tmp_path / "empty").mkdir()
    base.add_folder(tmp_path / "empty")
    assert embeddings.texts == []


def test_a_folder_is_no_file_and_the_hint_says_so(base: KnowledgeBase, folder: Path) -> None:
    with pytest.raises(KnowledgeError, match="is a folder") as told:
        base.add_file(folder)
    assert told.value.hint == "add_folder reads it."


def test_a_misspelled_name_is_no_new_base(tmp_path: Path, embeddings: HashedEmbeddings) -> None:
    KnowledgeBase.named("documents", tmp_path, embeddings, create=True).close()
    with pytest.raises(KnowledgeError, match="There is no base 'documnets'; there are: documents"):
        KnowledgeBase.named("documnets", tmp_path, embeddings)
    KnowledgeBase.named("documents", tmp_path, embeddings).close()
    assert not (tmp_path / "documnets").exists()


def test_a_file_with_a_new_time_and_the_same_bytes_is_not_read_again(
    base: KnowledgeBase, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base.add_folder(folder)
    os.utime(folder / "0.txt", (LONG_AGO + 1, LONG_AGO + 1))
    monkeypatch.setattr("phireside.retrieval.adding.load_file", None)
    assert base.add_folder(folder).unchanged == 3


def test_a_file_that_was_written_again_within_one_tick_is_noticed(base: KnowledgeBase, folder: Path) -> None:
    now = time.time()
    write(folder / "0.txt", "one fox", now)
    base.add_folder(folder)
    write(folder / "0.txt", "two fox", now)
    assert base.add_folder(folder).changed == 1


def test_a_changed_file_embeds_its_changed_chunks_only_and_keeps_the_others_ids(
    base: KnowledgeBase, folder: Path, embeddings: HashedEmbeddings
) -> None:
    base.add_folder(folder)
    [document] = [each for each in base.documents() if each.source.endswith("1.txt")]
    first, last = base.chunks(document.id)
    write(folder / "1.txt", "A new beginning.\n\nNote 1 begins.\n\nAnd ends otherwise.", LONG_AGO + 5)
    embeddings.texts.clear()
    assert base.add_folder(folder).changed == 1
    assert [text.rpartition("\n")[2] for text in embeddings.texts] == ["A new beginning.", "And ends otherwise."]
    parts = base.chunks(document.id)
    assert [part.metadata["position"] for part in parts] == [0, 1, 2]
    assert (parts[1].id, parts[1].page_content) == (first.id, first.page_content)
    assert base.get_by_ids([str(last.id)]) == []
    assert parts[1].metadata["start"] == len("A new beginning.\n\n")


def test_a_file_that_moves_is_not_embedded_again(
    base: KnowledgeBase, folder: Path, embeddings: HashedEmbeddings
) -> None:
    write(folder / "page.md", "# Title\n\nA text.")
    base.add_folder(folder)
    (folder / "sub").mkdir()
    (folder / "page.md").rename(folder / "sub" / "page.md")
    embeddings.texts.clear()
    report = base.add_folder(folder)
    assert (report.added, report.removed, embeddings.texts) == (1, 1, [])


def test_deleted_files_go_and_others_documents_stay(base: KnowledgeBase, folder: Path, tmp_path: Path) -> None:
    beside = write(tmp_path / "notes2" / "x.txt", "Beside.")
    base.add_file(beside)
    base.add_text("Alone.", source=str(folder) + "?")
    base.add_folder(folder)
    (folder / "2.txt").unlink()
    beside.unlink()
    assert base.add_folder(folder).removed == 1
    assert len(base.documents()) == 4


def test_a_folder_that_is_not_there_removes_nothing(base: KnowledgeBase, folder: Path) -> None:
    base.add_folder(folder)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(KnowledgeError, match="not a folder"):
        base.add_folder(folder)
    assert len(base.documents()) == 3


def test_what_fails_is_reported_and_keeps_its_old_version(base: KnowledgeBase, folder: Path) -> None:
    base.add_folder(folder)
    before = texts(base)
    (folder / "1.txt").rename(folder / "x")
    (folder / "1.txt").mkdir()  # a folder in its place cannot be read as a file
    write(folder / "bad.docx", "no zip")
    report = base.add_files([folder / "0.txt", folder / "1.txt", folder / "bad.docx"])
    assert [Path(source).name for source, _ in report.failed] == ["1.txt", "bad.docx"]
    assert report.unchanged == 1
    assert texts(base) == before
    with pytest.raises(DocumentError):
        base.add_file(folder / "bad.docx")


def test_an_embedder_that_fails_on_one_document_leaves_out_that_one(
    base: KnowledgeBase, folder: Path, embeddings: HashedEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = embeddings.embed_documents

    def picky(given: list[str]) -> list[list[float]]:
        if any("word1" in text for text in given):
            raise ValueError("no word1")
        return embed(given)

    monkeypatch.setattr(embeddings, "embed_documents", picky)
    report = base.add_folder(folder)
    assert report.added == 2
    [(source, error)] = report.failed
    assert source.endswith("1.txt")
    assert "no word1" in error.message


def test_a_killed_run_goes_on_where_it_was(
    base: KnowledgeBase, folder: Path, embeddings: HashedEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phireside.retrieval.adding.BATCH", 2)

    def stop(done: int, total: int, source: str) -> None:
        assert total == 3
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        base.add_folder(folder, progress=stop)
    embeddings.texts.clear()
    report = base.add_folder(folder)
    assert (report.unchanged, report.added) == (2, 1)
    assert all("2" in text for text in embeddings.texts)


def test_texts_and_uploads_are_known_by_their_source_or_content(base: KnowledgeBase) -> None:
    assert base.add_text("Red fox.", source="fox", title="Fox").added == 1
    assert base.add_text("Red fox.", source="fox", title="Fox").unchanged == 1
    assert base.add_text("Grey fox.", source="fox", title="Fox").changed == 1
    first = base.add_upload("../../etc/pass\u202ewd.txt", b"Uploaded words.")
    again = base.add_upload("other-name.txt", b"Uploaded words.")
    assert (first.added, again.changed, first.documents) == (1, 1, again.documents)
    [upload] = [each for each in base.documents() if each.source.startswith("upload:")]
    assert base.chunks(upload.id)[0].metadata["name"] == "other-name.txt"
    assert upload.source.removeprefix("upload:").isalnum()


def test_a_page_is_replaced_when_it_says_something_else(base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    from phireside.retrieval import Loaded, Section

    for text, what in (("One.", "added"), ("One.", "unchanged"), ("Two.", "changed")):
        loaded = Loaded("Page", "html", (Section(text),))
        monkeypatch.setattr("phireside.retrieval.knowledge_base.load_page", lambda url, loaded=loaded: loaded)
        assert getattr(base.add_page("http://127.0.0.1/page"), what) == 1


def test_metadata_and_chunking_are_part_of_what_is_unchanged(base: KnowledgeBase, folder: Path, tmp_path: Path) -> None:
    path = folder / "0.txt"
    base.add_file(path)
    assert base.add_file(path, {"lang": "en", "source": "mine"}).changed == 1
    part = base.chunks(base.documents()[0].id)[0]
    assert (part.metadata["lang"], part.metadata["source"]) == ("en", str(path))
    assert base.keyword("note", 3, {"lang": "en"})
    assert not base.keyword("note", 3, {"source": "mine"})
    base.close()
    other = KnowledgeBase(tmp_path / "base", HashedEmbeddings(), chunking=Chunking("tokens", 40, 0))
    assert other.add_file(path, {"lang": "en"}).changed == 1
    assert len(texts(other)) == 1
    other.close()


def test_two_bases_on_one_folder_may_add_the_same_at_once(base: KnowledgeBase, folder: Path, tmp_path: Path) -> None:
    for number in range(30):
        write(folder / f"more{number}.txt", f"More {number}.\n\nwords{number}")
    other = KnowledgeBase(tmp_path / "base", HashedEmbeddings(), chunking=base.chunking)
    reports = []
    threads = [threading.Thread(target=lambda b=b: reports.append(b.add_folder(folder))) for b in (base, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.failed for report in reports] == [(), ()]
    assert len(base.documents()) == 33
    assert sorted(texts(base)) == sorted(set(texts(other)))
    assert base.similarity_search("words7", 40) == other.similarity_search("words7", 40)
    other.close()


def test_what_is_removed_or_replaced_is_in_no_file_any_more(
    base: KnowledgeBase, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in free pages, not among FTS5's words, not in the log; nor its vector in SQLite or FAISS's file."""
    for number in range(4):
        secret = " ".join(f"secretword{number}x{n}" for n in range(30))
        base.add_text(f"{secret} ends.", source=f"s{number}", title=f"secretword{number}x", metadata={"k": secret})
    base.add_texts(["secretword9x alone"], ids=["a"])
    monkeypatch.setattr("phireside.retrieval.vectors.WRITE_AFTER", 9)
    write(folder / "big.txt", "\n\n".join(f"Note number {n} says little." for n in range(30)))
    base.add_folder(folder)
    vectors = [base.vectors(["a"]).tobytes(), *(row.tobytes() for row in base.vectors(all_ids(base, "s")))]
    base.similarity_search("secretword1x1", 3)
    assert remains(base, vectors) == {"base.sqlite3": 2, "index.faiss": 1}
    base.remove("s0")
    base.add_text("Another text.", source="s1")
    base.delete([str(part) for part in all_ids(base, "s2")])
    base.remove("s2")
    base.remove("s3")
    base.add_texts(["no secret"], ids=["a"])
    assert remains(base, vectors) == {}
    assert base.similarity_search("Another text.", 1)[0].metadata["source"] == "s1"


def all_ids(base: KnowledgeBase, source: str) -> list[str]:
    parts = [part for info in base.documents() if info.source.startswith(source) for part in base.chunks(info.id)]
    return [str(part.id) for part in parts]


def remains(base: KnowledgeBase, vectors: list[bytes]) -> dict[str, int]:
    """What each file has of the secrets: their words, their vectors."""
    data = {file.name: file.read_bytes() for file in base.path.iterdir()}
    data["base.sqlite3"] += data.pop("base.sqlite3-wal", b"")
    found = {
        name: (b"secret" in each.lower().replace(b"no secret", b"")) + any(v in each for v in vectors)
        for name, each in data.items()
    }
    return {name: count for name, count in found.items() if count}


def test_a_pipe_among_the_files_is_reported_and_not_waited_for(base: KnowledgeBase, folder: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    report = base.add_folder(folder)
    assert (report.added, [Path(source).name for source, _ in report.failed]) == (3, ["pipe.txt"])
    assert "no file" in report.failed[0][1].message


def test_a_text_whose_source_looks_like_a_file_of_the_folder_stays(base: KnowledgeBase, folder: Path) -> None:
    base.add_text("A note on the notes.", source=str(folder / "virtual-note"))
    assert base.add_folder(folder).removed == 0


def test_a_file_is_one_document_however_its_path_is_spelled(base: KnowledgeBase, folder: Path, tmp_path: Path) -> None:
    (folder / "sub").mkdir()
    base.add_file(folder / "0.txt")
    assert base.add_file(folder / "sub" / ".." / "0.txt").unchanged == 1
    write(tmp_path / "far" / "0.txt", "Far away.")
    (tmp_path / "far" / "inner").mkdir()
    (folder / "link").symlink_to(tmp_path / "far" / "inner")
    assert base.add_file(folder / "link" / ".." / "0.txt").added == 1  # behind a link, ".." leads elsewhere


@pytest.mark.parametrize("text", ["", " \n", None, b"bytes"])
def test_a_text_without_a_character_is_refused(base: KnowledgeBase, text: Any) -> None:
    with pytest.raises(KnowledgeError, match="no text"):
        base.add_text(text)
    assert base.documents() == []


def test_a_file_of_which_nobody_can_say_whether_it_is_there_is_not_removed(
    base: KnowledgeBase, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "far" / "x.txt", "On another disk.")
    base.add_folder(folder)
    (folder / "far" / "x.txt").unlink()
    (folder / "0.txt").unlink()
    exists = Path.exists

    def silent(path: Path, **options: bool) -> bool:
        if path.name == "x.txt":
            raise OSError(5, "Input/output error")
        return exists(path, **options)

    monkeypatch.setattr(Path, "exists", silent)
    assert base.add_folder(folder).removed == 1
    assert {Path(each.source).name for each in base.documents()} == {"1.txt", "2.txt", "x.txt"}


def test_a_name_that_no_file_can_have_is_told(base: KnowledgeBase) -> None:
    with pytest.raises(KnowledgeError, match="cannot be read"):
        base.add_file(Path("\ud800.txt"))
