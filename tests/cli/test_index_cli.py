"""`phireside index`: what it adds, prints and refuses."""

import json
import re
from pathlib import Path

import pytest
from hashed import HashedEmbeddings
from typer.testing import CliRunner, Result

from phireside.cli import app
from phireside.cli.embedding import embedding_model

CHAT = f"chat-{'0a' * 16}"


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bases below `tmp_path`, and a model without weights."""
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("phireside.cli.embedding.embeddings", lambda name: HashedEmbeddings())
    return tmp_path / "data"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "fox.md").write_text("# Foxes\n\nA red fox.\n\n## Food\n\nMice, mostly.\n")
    (folder / "whale.txt").write_text("A whale sings.")
    return folder


def run(*args: object) -> Result:
    return CliRunner().invoke(app, ["index", *map(str, args)])


def test_a_folder_is_added_once_and_followed(notes: Path, data_dir: Path) -> None:
    first = run(notes, "--base", "zoo")
    assert (first.exit_code, first.stdout) == (0, "2 added, 0 changed, 0 unchanged, 0 removed, 0 failed\n")
    assert (data_dir / "bases" / "zoo" / "base.sqlite3").exists()
    (notes / "whale.txt").unlink()
    (notes / "fox.md").write_text("# Foxes\n\nA grey fox.\n")
    assert run(notes, "--base", "zoo").stdout.startswith("0 added, 1 changed, 0 unchanged, 1 removed")
    assert run("--list", "--base", "zoo").stdout == f"{notes / 'fox.md'}\tFoxes\tmd\t1 chunk\n"


def test_what_cannot_be_read_is_told_and_the_rest_is_added(notes: Path) -> None:
    (notes / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    result = run(notes, notes / "missing.txt", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["added"] == 2
    assert [Path(each["source"]).name for each in found["failed"]] == ["broken.pdf", "missing.txt"]


def test_a_base_is_made_only_if_something_can_be_read(notes: Path, data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    nowhere, empty = run("nowhere", "--base", "zoo"), run(tmp_path / "empty", "--base", "zoo")
    assert (nowhere.exit_code, "nowhere cannot be read: No such file" in nowhere.stderr) == (1, True)
    assert (empty.exit_code, "No files of a known kind in " in empty.stderr) == (0, True)
    assert not (data_dir / "bases").exists()
    assert run("nowhere", notes, "--base", "zoo").stdout.startswith("2 added")


def test_files_of_unknown_kinds_are_counted(notes: Path) -> None:
    for name in ("a.png", "b.PNG", "c.xyz", ".hidden.png"):
        (notes / name).write_text("x")
    assert run(notes).stdout.endswith(", 0 failed, 3 skipped (.png, .xyz)\n")
    assert json.loads(run(notes, "--json").stdout)["skipped"] == {".png": 2, ".xyz": 1}


def test_a_preview_goes_on_after_what_cannot_be_read(notes: Path) -> None:
    (notes / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    result = run(notes, "--preview")
    assert (result.exit_code, "A whale sings." in result.stdout) == (1, True)
    assert "broken.pdf" in result.stderr
    assert "save it anew" in result.stderr


def test_on_a_terminal_the_loading_of_the_model_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("phireside.cli.embedding.embeddings", lambda name: HashedEmbeddings())
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    model = embedding_model("starter")
    assert capsys.readouterr().err == ""
    assert model.embed_query("a") == model.embed_documents(["a"])[0]
    assert capsys.readouterr().err == "Loading the embedding model…\n"


def test_preview_shows_the_chunks_and_adds_nothing(notes: Path, data_dir: Path) -> None:
    result = run(notes / "fox.md", "--preview", "--chunking", "headings:40:0")
    assert result.exit_code == 0
    assert "A red fox." in result.stdout
    assert "put before it: Foxes > Food\n## Food" in result.stdout
    assert not (data_dir / "bases").exists()
    pieces = json.loads(run(notes, "--preview", "--json").stdout)
    assert [Path(piece["source"]).name for piece in pieces] == ["fox.md", "fox.md", "whale.txt"]


@pytest.mark.parametrize("text", ["headings:0", "verses", "headings:x", "headings:1:2:3", "tokens:10:10"])
def test_a_chunking_that_cannot_be_is_an_error(notes: Path, text: str) -> None:
    result = run(notes, "--chunking", text)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")


def test_bases_are_listed_and_dropped(notes: Path, data_dir: Path) -> None:
    run(notes, "--base", "a")
    run(notes, "--base", "b")
    assert json.loads(run("--list", "--all", "--json").stdout)[0] == {
        "name": "a",
        "documents": 2,
        "chunks": 3,
        "model": "HashedEmbeddings",
    }
    assert run("--drop", "--base", "a").exit_code == 0
    assert run("--all").stdout == "b\t2 documents\t3 chunks\tHashedEmbeddings\n"
    again = run("--drop", "--base", "a")
    assert (again.exit_code, "no base 'a'" in again.stderr) == (1, True)


def test_on_a_terminal_they_are_tables(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (notes / "two  spaces.txt").write_text("A seal barks.")
    run(notes)
    assert f"{notes}/two  spaces.txt\t" in run("--list").stdout  # as --remove wants it
    monkeypatch.setattr("phireside.cli.output.on_terminal", lambda stream: True)
    assert re.search(r"Base +Documents +Chunks +Embedding model *\n *documents +3 documents +", run("--all").stdout)
    assert re.search(r"Source +Title +Kind +Chunks", run("--list").stdout)


def test_the_files_of_a_chat_are_not_among_the_bases(notes: Path) -> None:
    for name in (CHAT, "chat-notes"):
        run(notes, "--base", name)
    assert [line.split("\t")[0] for line in run("--all").stdout.splitlines()] == ["chat-notes"]
    found = CliRunner().invoke(app, ["search", "fox", "--base", "nothing"])
    assert "there are: chat-notes." in found.stderr
    assert run("--list", "--base", CHAT).stdout.count("\n") == 2, "Whoever knows the name may look."


def test_a_document_is_removed_by_its_path_or_source(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(notes)
    monkeypatch.chdir(notes)
    assert run("--remove", "fox.md").exit_code == 0
    again = run("--remove", "fox.md", "--remove", notes / "whale.txt", "--remove", "no.md")
    assert (again.exit_code, again.stderr.splitlines()[0]) == (1, "1 removed.")
    assert "no document from fox.md, no.md." in again.stderr
    assert run("--list").stdout == ""
    assert run("--remove", "fox.md").exit_code == 1


def test_another_model_is_noticed_and_reindexing_helps(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(notes)
    monkeypatch.setattr("phireside.cli.embedding.embeddings", lambda name: HashedEmbeddings(size=8))
    refused = run(notes)
    assert (refused.exit_code, "--reindex" in refused.stderr) == (1, True)
    assert run("--reindex").stdout == "3 chunks embedded\n"
    assert run(notes).exit_code == 0


@pytest.mark.parametrize("arguments", [[], ["--list", "--drop"], ["x.txt", "--reindex"]])
def test_one_thing_at_a_time(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 1


@pytest.mark.parametrize("name", ["../other", "", "a/b", ".hidden", "x" * 65, "a\0b"])
def test_a_name_that_leaves_the_folder_is_refused(notes: Path, name: str, data_dir: Path) -> None:
    result = run(notes, "--base", name)
    assert result.exit_code == 1
    assert "cannot be the name of a base" in result.stderr
    assert not (data_dir / "bases").exists()


def test_an_empty_path_is_not_the_current_folder(notes: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(notes)
    result = run("")
    assert (result.exit_code, "empty" in result.stderr) == (1, True)
    assert not (data_dir / "bases").exists()


def test_a_path_that_is_not_there_leaves_no_empty_base(notes: Path, data_dir: Path) -> None:
    result = run(notes / "typo", "--base", "new")
    assert (result.exit_code, "typo" in result.stderr) == (1, True)
    assert not (data_dir / "bases").exists()


def test_whatever_is_done_to_a_base_is_told_as_json_too(notes: Path) -> None:
    run(notes, "--base", "a")
    assert json.loads(run("--reindex", "--base", "a", "--json").stdout) == {"base": "a", "embedded": 3}
    removed = run("--remove", notes / "fox.md", "--base", "a", "--json")
    assert json.loads(removed.stdout) == {"base": "a", "removed": 1}
    assert json.loads(run("--drop", "--base", "a", "--json").stdout) == {"base": "a", "dropped": True}


def test_a_damaged_base_can_be_dropped(notes: Path, data_dir: Path) -> None:
    run(notes, "--base", "a")
    (data_dir / "bases" / "a" / "base.sqlite3").write_bytes(b"damaged" * 1000)
    assert run("--drop", "--base", "a").exit_code == 0
    assert not (data_dir / "bases" / "a").exists()


def test_a_base_that_is_a_link_is_told_and_kept(notes: Path, data_dir: Path) -> None:
    run(notes, "--base", "a")
    (data_dir / "bases" / "b").symlink_to(data_dir / "bases" / "a")
    result = run("--drop", "--base", "b")
    assert (result.exit_code, result.stderr.startswith("Error: b cannot be deleted")) == (1, True)
    assert (data_dir / "bases" / "a" / "base.sqlite3").exists()


def test_nothing_is_dropped_that_was_not_named(notes: Path) -> None:
    run(notes)
    result = run("--drop")
    assert (result.exit_code, "--base" in result.stderr) == (1, True)
    assert run("--all").stdout.startswith("documents\t2 ")


@pytest.mark.parametrize("arguments", [["--reindex", "--chunking", "tokens"], ["--list", "--preview"]])
def test_an_option_that_would_do_nothing_is_told(notes: Path, arguments: list[str]) -> None:
    run(notes)
    result = run(*arguments)
    assert (result.exit_code, "does nothing" in result.stderr) == (1, True)
    assert run("--all").stdout.startswith("documents\t2 ")
