"""`phireside eval answers`: a table or JSON; each line is scored or named."""

import json
from pathlib import Path

import pytest
from answers import answers
from typer.testing import CliRunner

from phireside.cli import app
from phireside.errors import ModelNotFoundError

ROWS = [
    '{"question": "How long?", "answer": "Three months. [1]", "passages": ["Three months."],'
    ' "known": ["three months"]}',
    '{"question": "How long?"}',
    "",
    "no json",
]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    model = answers(lambda m: "4" if "digit" in str(m) else "What?" if "Write the question" in str(m) else "yes")
    monkeypatch.setattr("phireside.models.load_chat_model", lambda name, settings: model)
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(ROWS))
    return path


def test_the_table_has_each_measure_and_each_line_that_is_unscored(file: Path) -> None:
    done = CliRunner().invoke(app, ["eval", "answers", str(file)])
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["fluency", "0.750", "1", "of", "3", "samples"] in lines
    assert ["exact", "match", "1.000", "1", "of", "3", "samples"] in lines
    assert [line[1] for line in lines if line[0] == "line"] == ["2", "4"]


def test_json_has_means_samples_and_the_unscored(file: Path) -> None:
    done = CliRunner().invoke(app, ["eval", "answers", str(file), "--json", "--limit", "2"])
    data = json.loads(done.stdout)
    assert data["means"]["citation_recall"] == {"mean": 1.0, "samples": 1}
    assert [each["line"] for each in data["samples"]] == [1]
    assert [each["line"] for each in data["unscored"]] == [2]


def test_a_file_without_samples_or_none_at_all_is_an_error_with_a_hint(file: Path) -> None:
    file.write_text("no json")
    for path, said in ((file, "None of the 1 lines"), (file.parent / "missing", "cannot be read")):
        done = CliRunner().invoke(app, ["eval", "answers", str(path)])
        assert done.exit_code == 1
        assert said in done.stderr


def test_a_judge_that_is_not_there_is_an_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = answers(lambda messages: ModelNotFoundError("There is no model nosuch."))
    monkeypatch.setattr("phireside.models.load_chat_model", lambda name, settings: nobody)
    done = CliRunner().invoke(app, ["eval", "answers", str(file), "--model", "nosuch"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no model nosuch" in done.stderr


def test_a_line_ends_where_json_lines_end_and_a_byte_order_mark_is_none_of_it(file: Path) -> None:
    row = {"question": "How\u2028long?", "answer": "Long.\u0085"}
    file.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8-sig")
    data = json.loads(CliRunner().invoke(app, ["eval", "answers", str(file), "--json"]).stdout)
    assert [each["question"] for each in data["samples"]] == ["How\u2028long?"]
    assert data["unscored"] == []


def test_without_a_model_it_is_that_of_the_settings(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    model = answers(lambda messages: "yes")
    monkeypatch.setattr("phireside.models.load_chat_model", lambda name, settings: asked.append(name) or model)
    monkeypatch.setenv("PHIRESIDE_MODEL", "openai:judge")
    CliRunner().invoke(app, ["eval", "answers", str(file)])
    assert asked == ["openai:judge"]
