"""KV files give back what was written or nothing, find the longest beginning, keep to their limit, and never raise."""

import ctypes
import errno
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phireside.models.engine import disk
from phireside.models.engine.disk import StateFiles

LIMIT = 1_000_000
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX rights")
token_lists = st.lists(st.integers(0, 1), min_size=1, max_size=12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "0123456789abcdef" / "kv"


@pytest.fixture
def files(folder: Path) -> StateFiles:
    return StateFiles(folder, LIMIT)


def written(files: StateFiles, name: str, tokens: list[int], state: bytes = b"state") -> Path:
    """The file of a state that was just written."""
    files.write(name, tokens, state)
    path, length = files.longest(tokens)
    assert path
    assert length == len(tokens)
    return path


def content(files: StateFiles, path: Path) -> tuple[list[int], bytes] | None:
    loaded = files.read(path)
    return loaded and (loaded[0], bytes(loaded[1]))


def held(files: StateFiles, *prompts: list[int]) -> list[list[int]]:
    """Which of these token lists have a file of their own."""
    return [prompt for prompt in prompts if files.longest(prompt, whole=True)[1] == len(prompt)]


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [r for r in caplog.records if r.name == "phireside.models.engine.disk"]
    assert {r.levelno for r in records} <= {logging.WARNING}
    return [r.getMessage() for r in records]


@pytest.mark.parametrize("size", [1, 4096, 900_000])
def test_a_state_comes_back_as_it_was(files: StateFiles, size: int) -> None:
    state = random.Random(size).randbytes(size)
    path = written(files, "chat", [3, 1, 2_000_000_000], state)
    assert content(files, path) == ([3, 1, 2_000_000_000], state)
    assert content(StateFiles(path.parent, LIMIT), path) == ([3, 1, 2_000_000_000], state)


def test_llama_cpp_can_write_and_read_a_state_without_a_copy(files: StateFiles) -> None:
    given_state = (ctypes.c_uint8 * 1000)(*range(250))
    path = written(files, "chat", [1], memoryview(given_state))
    loaded = files.read(path)
    assert loaded
    pointer = (ctypes.c_uint8 * len(loaded[1])).from_buffer(loaded[1])
    assert bytes(pointer) == bytes(given_state)
    assert ctypes.addressof(pointer) == np.frombuffer(loaded[1], np.uint8).ctypes.data


@settings(max_examples=60, deadline=None)
@given(kept=st.lists(token_lists, max_size=8), prompt=st.lists(st.integers(0, 1), max_size=14), whole=st.booleans())
def test_the_longest_beginning_is_the_one_found_by_hand(kept: list[list[int]], prompt: list[int], whole: bool) -> None:
    def shared(tokens: list[int]) -> int:
        return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(tokens, prompt, strict=False))))

    with tempfile.TemporaryDirectory() as root:
        files = StateFiles(Path(root, "kv"), LIMIT)
        for number, tokens in enumerate(kept):
            files.write(str(number), tokens, bytes([number + 1]) * 5)
        path, length = files.longest(prompt, whole=whole)
        expected = max((shared(t) for t in kept if not whole or shared(t) == len(t)), default=0)
        assert length == expected
        assert (path is None) == (expected == 0)
        if path:
            loaded = files.read(path)
            assert loaded
            assert shared(loaded[0]) == expected
            assert not whole or loaded[0] == prompt[: len(loaded[0])]


def test_a_newer_state_takes_the_place_of_the_older_one(files: StateFiles, folder: Path) -> None:
    old = written(files, "chat", [1, 2], b"old")
    other = written(files, "other", [5], b"other")
    new = written(files, "chat", [1, 2, 3], b"new")
    assert set(folder.iterdir()) == {other, new}
    assert content(files, old) is None
    files.write("chat", [1, 2, 3], b"newer")
    assert content(files, new) == ([1, 2, 3], b"newer")


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a\0b", "\ud800", "ü" * 5000, "CON", "a/b.kv"])
def test_a_name_is_data_and_is_not_stored(files: StateFiles, folder: Path, name: str) -> None:
    path = written(files, name, [1])
    assert list(folder.iterdir()) == [path]
    assert len(name) < 3 or name.encode("utf-8", "replace") not in path.read_bytes() + os.fsencode(path.name)
    files.forget(name)
    assert list(folder.iterdir()) == []


def test_forget_works_after_the_limit_was_set_to_0(files: StateFiles, folder: Path) -> None:
    path = written(files, "chat", [1, 2])
    StateFiles(folder, 0).forget("chat")
    assert not path.exists()


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 3000), max_size=12), limit=st.integers(0, 5000))
def test_the_folder_never_stays_above_its_limit(sizes: list[int], limit: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        files = StateFiles(Path(root, "kv"), limit)
        for number, size in enumerate(sizes):
            files.write(str(number % 5), [number], b"x" * size)
            paths = list(Path(root).glob("kv/*"))
            assert sum(path.stat().st_size for path in paths) <= limit
            assert files.longest([number])[1] == 1 or size + 200 > limit


def test_a_state_above_the_limit_is_not_written_and_the_older_one_stays(
    files: StateFiles, caplog: pytest.LogCaptureFixture
) -> None:
    old = written(files, "chat", [1])
    files.write("chat", [1, 2], bytes(LIMIT))
    assert content(files, old) == ([1], b"state")
    assert len(lines(caplog)) == 1
    assert f"exceed the limit of {LIMIT}" in lines(caplog)[0]


def test_a_limit_of_0_writes_and_reads_nothing(files: StateFiles, folder: Path, tmp_path: Path) -> None:
    path = written(files, "chat", [1, 2])
    off = StateFiles(folder, 0)
    assert off.longest([1, 2]) == (None, 0)
    off.write("other", [3], b"state")
    assert list(folder.iterdir()) == [path]
    StateFiles(tmp_path / "never", 0).write("chat", [1], b"state")
    assert not (tmp_path / "never").exists()


@posix
def test_files_and_folder_are_their_owners_alone(folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o755)
    path = written(StateFiles(folder, LIMIT), "chat", [1])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


def test_headers_are_read_once(files: StateFiles, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [written(files, str(n), [n, n]) for n in range(1, 20)]
    read: list[Path] = []
    monkeypatch.setattr(disk, "_read_tokens", lambda path: read.append(path) or [7, 7])
    again = StateFiles(folder, LIMIT)
    for _ in range(3):
        assert again.longest([7, 7, 7])[1] == 2
    assert sorted(read) == sorted(paths)


def test_forget_removes_every_file_of_the_name_and_no_other(files: StateFiles, folder: Path) -> None:
    path = written(files, "chat", [1, 2])
    path.with_name(f"{path.stem}-x.tmp").touch()  # a writer was killed
    path.with_name(f"{path.stem[:64]}-{'0' * 32}.kv").touch()  # two processes wrote at once
    kept = written(files, "other", [1, 2, 3])
    files.forget("chat")
    files.forget("never seen")
    assert list(folder.iterdir()) == [kept]
    assert held(files, [1, 2], [1, 2, 3]) == [[1, 2, 3]]


def test_the_least_recently_used_files_go_first(folder: Path) -> None:
    files = StateFiles(folder, 4000)
    paths = [written(files, str(number), [number], b"x" * 1000) for number in (1, 2, 3)]
    for age, path in enumerate(paths):
        os.utime(path, (age, age))
    assert files.read(paths[0])
    files.write("4", [4], b"x" * 1000)
    assert held(files, [1], [2], [3], [4]) == [[1], [3], [4]]
    assert held(StateFiles(folder, 2500), [1], [3], [4]) == [[1], [4]]  # the limit was lowered


def test_temporary_files_are_removed_once_nobody_can_still_write_them(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, age in (("old.tmp", 2 * disk._ABANDONED_S), ("new.tmp", 0)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age,) * 2)
    StateFiles(folder, LIMIT)
    assert [path.name for path in folder.iterdir()] == ["new.tmp"]


def make_older(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "_FORMAT", b"phireside KV state 1\n")
        StateFiles(path.parent, LIMIT).write("chat", [1, 2], b"state")


def move_in_from_elsewhere(path: Path) -> None:
    other = StateFiles(path.parent.with_name("other"), LIMIT)
    written(other, "chat", [1, 2]).replace(path)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(lambda path: path.write_bytes(b""), "it is damaged, or not", id="empty"),
        pytest.param(lambda path: path.write_bytes(b"<!DOCTYPE html>" * 100), "it is damaged, or not", id="foreign"),
        pytest.param(make_older, "it is damaged, or not", id="older"),
        pytest.param(move_in_from_elsewhere, "it is damaged, or not", id="of another folder"),
        pytest.param(lambda path: os.truncate(path, path.stat().st_size - 1), "bytes, not ", id="truncated"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_an_unusable_file_is_removed_with_one_log_line(
    files: StateFiles, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None], reason: str, known: bool
) -> None:
    path = written(files, "chat", [1, 2])
    spoil(path)
    if known:
        assert files.read(path) is None
    else:
        files = StateFiles(path.parent, LIMIT)
    assert files.longest([1, 2]) == (None, 0)
    assert files.read(path) is None
    assert len(lines(caplog)) == 1
    assert lines(caplog)[0].startswith(f"KV file {path} is not used: ")
    assert reason in lines(caplog)[0]
    assert not path.exists()
    assert content(files, written(files, "chat", [1, 2], b"again")) == ([1, 2], b"again")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError("no room for the state")])
def test_a_file_that_cannot_be_read_is_told_once_and_left_alone(
    files: StateFiles, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    path = written(files, "chat", [1, 2])
    with monkeypatch.context() as patch:
        patch.setattr(disk, "_read_header", fail)
        assert files.read(path) is None
    assert held(files, [1, 2]) == []
    assert len(lines(caplog)) == 1
    assert str(error) in lines(caplog)[0]
    assert held(StateFiles(path.parent, LIMIT), [1, 2]) == [[1, 2]]


def test_a_folder_in_a_files_place_disturbs_nothing(files: StateFiles, caplog: pytest.LogCaptureFixture) -> None:
    path = written(files, "chat", [1, 2])
    path.unlink()
    path.mkdir()
    again = StateFiles(path.parent, LIMIT)
    again.write("chat", [1, 2], b"state")
    again.write("other", [9], b"state")
    assert held(again, [1, 2], [9]) == [[9]]
    again.forget("chat")
    assert held(again, [9]) == [[9]]
    assert {str(path) in line or str(path.parent) in line for line in lines(caplog)} == {True}


def test_a_file_that_vanished_is_just_not_found(files: StateFiles, caplog: pytest.LogCaptureFixture) -> None:
    path = written(files, "chat", [1, 2])
    path.unlink()
    assert files.read(path) is None
    assert files.longest([1, 2]) == (None, 0)
    path.parent.rmdir()
    assert files.longest([1, 2]) == (None, 0)
    files.forget("chat")
    assert content(files, written(files, "chat", [1, 2])) == ([1, 2], b"state")  # and the folder is made again
    assert lines(caplog) == []


def test_two_on_one_folder_see_each_others_files(files: StateFiles, folder: Path) -> None:
    other = StateFiles(folder, LIMIT)
    files.write("mine", [1], b"mine")
    assert held(other, [1]) == [[1]]
    other.write("theirs", [2], b"theirs")
    assert held(files, [1], [2]) == [[1], [2]]
    other.forget("mine")
    assert held(files, [1], [2]) == [[2]]


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC])
def test_a_disk_that_cannot_be_written_costs_a_log_line(
    files: StateFiles, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    old = written(files, "chat", [1, 2], b"old")
    monkeypatch.setattr("os.fsync", fail)
    files.write("chat", [1, 2, 3], b"new")
    assert content(files, old) == ([1, 2], b"old")
    assert list(old.parent.iterdir()) == [old]
    assert len(lines(caplog)) == 1
    assert os.strerror(code) in lines(caplog)[0]


def test_a_folder_that_cannot_be_made_costs_a_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    files = StateFiles(tmp_path / "file" / "kv", LIMIT)
    files.write("chat", [1], b"state")
    files.forget("chat")
    assert files.longest([1]) == (None, 0)
    assert [line[:31] for line in lines(caplog)] == ["The KV state of 1 tokens cannot"]


def test_each_weights_file_and_each_settings_have_a_folder(tmp_path: Path) -> None:
    weights = "ab" * 32
    first = StateFiles.folder_for(tmp_path, weights, {"type_k": "f16", "rope": 1.0})
    assert first == StateFiles.folder_for(tmp_path, weights, {"rope": 1.0, "type_k": "f16"})
    assert first.parent == tmp_path / weights[:16]
    assert len(first.name) == 16
    assert set(first.name) <= set("0123456789abcdef")
    others = [(weights, {"type_k": "q8_0", "rope": 1.0}), (weights, {"type_k": "f16"}), ("cd" * 32, {"type_k": "f16"})]
    assert len({first, *(StateFiles.folder_for(tmp_path, sha, settings) for sha, settings in others)}) == 4
