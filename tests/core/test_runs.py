"""Kept runs: written whole or not at all, listed newest first, and files that are none named and passed over."""

import json
from pathlib import Path
from typing import Any

import pytest

from phireside.errors import StoreError
from phireside.runs import Runs


def number(value: Any) -> int:
    return value["number"] + 0


@pytest.fixture
def runs(tmp_path: Path) -> Runs[int]:
    return Runs(tmp_path / "runs", "numbers", lambda value: {"number": value}, number)


def test_what_was_kept_is_read_again_by_another_program(runs: Runs[int], tmp_path: Path) -> None:
    first, second = runs.save("One *title*", 1), runs.save("Two", 2)
    other = Runs(tmp_path / "runs", "numbers", lambda value: value, number)
    assert other.get(first.id) == first
    assert [kept.run for kept in other.all()[0]] in ([2, 1], [1, 2])  # they may be of the same second
    assert {kept.id for kept in other.all()[0]} == {first.id, second.id}
    assert other.all()[1] == []


def test_the_newest_comes_first(runs: Runs[int]) -> None:
    for value, hour in ((1, 10), (2, 12), (3, 11)):
        path = runs.path(runs.save("x", value).id)
        data = json.loads(path.read_text())
        path.write_text(json.dumps({**data, "when": f"2026-11-22T{hour}:00:00+00:00"}))
    assert [kept.run for kept in runs.all()[0]] == [2, 3, 1]


def test_no_folder_is_no_runs(runs: Runs[int], tmp_path: Path) -> None:
    assert runs.all() == ([], [])
    assert not (tmp_path / "runs").exists(), "Looking makes none."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "JSONDecodeError"),
        ("[1]", "TypeError"),
        ("{}", "KeyError: 'version'"),
        ('{"version": 2, "kind": "numbers"}', "another version or kind: 2"),
        ('{"version": 1, "kind": "others"}', "another version or kind"),
        ('{"version": 1, "kind": "numbers", "when": "today", "title": "", "run": {"number": 1}}', "today"),
        ('{"version": 1, "kind": "numbers", "when": "2026-11-22", "title": "", "run": {"number": "1"}}', "TypeError"),
        ("[" * 100_000, "RecursionError"),
        ("\udcff", "UnicodeDecodeError"),
    ],
)
def test_a_file_that_is_no_run_is_named_and_the_others_are_read(runs: Runs[int], text: str, reason: str) -> None:
    good = runs.save("Good", 1)
    bad = runs.path("numbers-20261122-101010-abcdef")
    bad.write_bytes(text.encode("utf-8", "surrogateescape"))
    found, passed_over = runs.all()
    assert found == [good]
    assert [each.file for each in passed_over] == [bad.name]
    assert reason in passed_over[0].reason
    assert len(passed_over[0].reason) < 300
    with pytest.raises(StoreError, match="cannot be shown"):
        runs.get(bad.stem)


def test_what_is_no_file_of_ours_is_named_too(runs: Runs[int], tmp_path: Path) -> None:
    runs.save("Good", 1)
    (tmp_path / "runs" / "numbers-mine.json").write_text("{}")
    (tmp_path / "runs" / "numbers-20261122-101010-abcdef.json").mkdir()
    (tmp_path / "runs" / "numbers-20261122-101010-abcde0.json").symlink_to("nowhere")
    (tmp_path / "runs" / "others-20261122-101010-abcdef.json").write_text("{}")
    found, bad = runs.all()
    assert [kept.run for kept in found] == [1]
    assert len(bad) == 3


def test_a_file_that_was_changed_is_read_again(runs: Runs[int]) -> None:
    kept = runs.save("x", 1)
    assert runs.get(kept.id).run == 1
    path = runs.path(kept.id)
    path.write_text(path.read_text().replace('"number": 1', '"number": 23'))
    assert runs.get(kept.id).run == 23


@pytest.mark.parametrize(
    "name", ["", "../secret", "numbers-1", "others-20261122-101010-abcdef", "numbers-" + "a" * 500]
)
def test_an_address_reads_no_other_file(runs: Runs[int], name: str) -> None:
    for action in (runs.get, runs.delete, runs.path):
        with pytest.raises(StoreError, match="There is no run"):
            action(name)


def test_a_run_that_is_gone_is_said_and_can_be_deleted_twice(runs: Runs[int]) -> None:
    kept = runs.save("x", 1)
    runs.delete(kept.id)
    runs.delete(kept.id)
    with pytest.raises(StoreError, match="no such file"):
        runs.get(kept.id)


def test_a_run_that_cannot_be_written_leaves_nothing(runs: Runs[int], tmp_path: Path, monkeypatch: Any) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    kept = runs.save("x", 1)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match="No space left on device"):
        runs.save("y", 2)
    assert [each.name for each in (tmp_path / "runs").iterdir()] == [f"{kept.id}.json"]


def test_texts_of_all_kinds_are_kept(tmp_path: Path) -> None:
    runs = Runs[Any](tmp_path, "texts", lambda value: value, lambda value: value)
    kept = runs.save("\ud800 ü", {"a": "half \ud83d", "b": float("nan"), "c": "\u2028"})
    assert Runs[Any](tmp_path, "texts", str, lambda value: value).get(kept.id).run == {
        "a": "half \ufffd",
        "b": None,
        "c": "\u2028",
    }
