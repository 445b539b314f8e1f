"""`phireside search` and `phireside eval retrieval`: what they print where, and with which exit code."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hashed import HashedEmbeddings
from typer.testing import CliRunner, Result

from phireside.cli import app
from phireside.retrieval import KnowledgeBase
from phireside.retrieval.evaluation import Collection, write_beir
from phireside.settings import Settings

COLLECTION = Collection(
    {"1": ("Fire", "Dry wood burns."), "2": ("Ice", "Ice carries a person."), "3": ("", "Two\x1b[31m oars.")},
    {"q1": "dry wood", "q2": "ice", "q3": "oars"},
    {"q1": {"1": 1}, "q2": {"2": 1}, "q3": {"3": 1}},
)


@pytest.fixture
def folder(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A judged collection, beside a base "lake" with its documents."""
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setattr("phireside.cli.embedding.embeddings", lambda _: HashedEmbeddings(64))
    write_beir(tmp_path, COLLECTION)
    base = KnowledgeBase.named("lake", settings.bases_dir, HashedEmbeddings(64), create=True)
    for name, (title, text) in COLLECTION.documents.items():
        base.add_text(text, source=f"/notes/{name}", title=title)
    base.close()
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def failed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 1
    assert not result.stdout
    return result.stderr


def test_search_prints_passages_with_their_place(folder: Path) -> None:
    found = run("search", "dry wood", "--base", "lake", "-k", 1)
    assert found.stdout == "[1] /notes/1\nDry wood burns.\n"
    assert "keyword: place 1, " in run("search", "dry wood", "--base", "lake", "--explain").stdout
    assert "\x1b" not in run("search", "oars", "--base", "lake").stdout


def test_search_as_json(folder: Path) -> None:
    (hit,) = json.loads(run("search", "ice", "--base", "lake", "-k", 1, "--stages", "dense,keyword", "--json").stdout)
    assert hit["metadata"]["source"] == "/notes/2"
    assert set(hit["ranks"]) == {"dense", "keyword", "hybrid"}


def test_nothing_found_is_no_error(folder: Path) -> None:
    found = run("search", "zebra", "--base", "lake", "--threshold", 0.9)
    assert (found.exit_code, found.stdout) == (0, "Nothing found.\n")
    assert run("search", "zebra", "--base", "lake", "--threshold", 0.9, "--json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "a", "--base", "sea"), "There is no base 'sea'; there are: lake."),
        (("search", "a", "--base", "lake", "--stages", "best"), "There is no stage 'best'."),
        (("search", " ", "--base", "lake"), "The query is empty."),
        (("eval", "retrieval"), "It must be said what to measure with."),
        (("eval", "retrieval", "--base", "lake"), "It must be said what to measure with."),
        (("eval", "retrieval", "--beir", "/nowhere"), "corpus.jsonl cannot be read"),
        (("eval", "retrieval", "--beir", "/nowhere", "--plot", "a.doc"), "a.doc has no suffix of a plot"),
        (("eval", "retrieval", "--beir", "/nowhere", "--plot", "/no/a.html"), "there is no folder /no"),
    ],
)
def test_what_cannot_be_done_is_told(folder: Path, arguments: Sequence[str], message: str) -> None:
    assert message in failed(*arguments)


def test_evaluation_of_a_collection(folder: Path) -> None:
    found = run("eval", "retrieval", "--beir", folder, "--k", 2, "--plot", folder / "plot.html")
    assert found.exit_code == 0, found.output
    assert all(each in found.stdout for each in ("nDCG@2", "feedback", "3 queries", "A threshold of"))
    assert (folder / "plot.html").exists()


def test_the_table_is_printed_even_if_the_plot_cannot_be_written(folder: Path) -> None:
    (folder / "plot.html").mkdir()
    found = run("eval", "retrieval", "--beir", folder, "--plot", folder / "plot.html")
    assert (found.exit_code, "nDCG@10" in found.stdout) == (1, True)
    assert "cannot be written" in found.stderr


def test_a_kept_index_is_used_again(folder: Path) -> None:
    data = [
        json.loads(run("eval", "retrieval", "--beir", folder, "--index", folder / "kept", "--json").stdout)
        for _ in range(2)
    ]
    assert [stage["values"] for stage in data[0]["stages"]] == [stage["values"] for stage in data[1]["stages"]]
    assert (folder / "kept" / "base.sqlite3").exists()


def test_evaluation_of_a_base_by_its_sources_or_file_names(folder: Path) -> None:
    found = run("eval", "retrieval", "--base", "lake", "--judgments", folder, "--stages", "keyword", "--json")
    assert json.loads(found.stdout)["stages"][0]["means"]["MRR"] == 1.0
    (folder / "qrels" / "test.tsv").write_text("q2\t2\t1\nq1\tnowhere.md\t1\n")
    said = failed("eval", "retrieval", "--base", "lake", "--judgments", folder)
    assert "No document of the base is 'nowhere.md' (line 2 of " in said
