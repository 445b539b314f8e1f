"""The ledger: what is hashed, when, against what, and what happens to it when things go wrong."""

import os
import shutil
import time
from pathlib import Path

import pytest

from phireside.errors import ModelDamagedError, ModelNotFoundError
from phireside.models import integrity
from phireside.models.integrity import Ledger, file_sha256, sha256_in_name


@pytest.fixture
def model(tiny_phi3: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny_phi3, tmp_path / "model.gguf"))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "data" / "hashes.json")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read whole."""
    files: list[Path] = []

    def counted(path: Path) -> str:
        files.append(path)
        return file_sha256(path)

    monkeypatch.setattr(integrity, "file_sha256", counted)
    return files


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger's clock is a minute ahead: files that were just written count as settled."""
    now = time.time_ns
    monkeypatch.setattr(integrity.time, "time_ns", lambda: now() + 60_000_000_000)


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


@pytest.mark.usefixtures("later")
def test_an_unchanged_file_is_hashed_once(ledger: Ledger, model: Path, hashed: list[Path]) -> None:
    assert ledger.verify(model) == ledger.verify(model) == file_sha256(model)
    assert hashed == [model]


@pytest.mark.usefixtures("later")
def test_a_touched_file_is_hashed_again_and_still_right(ledger: Ledger, model: Path, hashed: list[Path]) -> None:
    ledger.verify(model)
    os.utime(model)
    ledger.verify(model)
    ledger.verify(model)
    assert len(hashed) == 2


def test_a_hash_taken_right_after_a_write_is_not_relied_on(ledger: Ledger, model: Path, hashed: list[Path]) -> None:
    ledger.verify(model)
    ledger.verify(model)
    assert len(hashed) == 2


@pytest.mark.usefixtures("later")
def test_a_flipped_bit_is_found_after_first_use(ledger: Ledger, model: Path) -> None:
    right = ledger.verify(model)
    flip(model, model.stat().st_size - 100)
    with pytest.raises(ModelDamagedError, match="altered") as caught:
        ledger.verify(model)
    assert right in caught.value.message
    assert file_sha256(model) in caught.value.message
    assert f"phireside models accept {model}" in caught.value.hint
    with pytest.raises(ModelDamagedError):  # the wrong hash was not remembered
        ledger.verify(model)


@pytest.mark.usefixtures("later")
def test_a_change_that_sets_the_times_back_is_found(ledger: Ledger, model: Path) -> None:
    ledger.verify(model)
    before = model.stat()
    flip(model, before.st_size - 100)
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert model.stat().st_mtime_ns == before.st_mtime_ns
    with pytest.raises(ModelDamagedError):
        ledger.verify(model)


def test_a_published_hash_is_demanded_on_first_use(ledger: Ledger, model: Path) -> None:
    with pytest.raises(ModelDamagedError, match="0" * 64):
        ledger.verify(model, "0" * 64)
    assert ledger.verify(model, file_sha256(model))


@pytest.mark.usefixtures("later")
def test_a_published_hash_goes_before_what_was_found_on_first_use(ledger: Ledger, model: Path) -> None:
    ledger.verify(model)
    with pytest.raises(ModelDamagedError):
        ledger.verify(model, "0" * 64)


def test_a_file_that_is_no_gguf_names_reason_and_hash(ledger: Ledger, model: Path) -> None:
    right = ledger.verify(model)
    model.write_text("<!DOCTYPE html>")
    with pytest.raises(ModelDamagedError, match=f"web page.*Expected sha256 {right}, found"):
        ledger.verify(model)


@pytest.mark.usefixtures("later")
def test_an_accepted_file_is_the_right_one_from_then_on(ledger: Ledger, model: Path) -> None:
    published = ledger.verify(model)
    flip(model, model.stat().st_size - 100)
    accepted = ledger.accept(model)
    assert accepted != published
    assert ledger.verify(model, published) == accepted
    os.utime(model)
    assert ledger.verify(model, published) == accepted
    flip(model, model.stat().st_size - 100)  # back to the published bytes, which nobody accepted
    with pytest.raises(ModelDamagedError):
        ledger.verify(model)


def test_what_is_no_gguf_cannot_be_accepted(ledger: Ledger, model: Path) -> None:
    model.write_bytes(b"")
    with pytest.raises(ModelDamagedError, match="empty") as refused:
        ledger.accept(model)
    assert "accept" not in refused.value.hint


@pytest.mark.usefixtures("later")
def test_a_download_is_remembered_without_reading_it(ledger: Ledger, model: Path, hashed: list[Path]) -> None:
    ledger.record(model, file_sha256(model))
    ledger.verify(model)
    assert hashed == []


def test_a_file_written_to_while_it_is_hashed_is_refused(
    ledger: Ledger, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(path: Path) -> str:
        found = file_sha256(path)
        flip(path, 5_000)
        os.utime(path, ns=(1, 1))
        return found

    monkeypatch.setattr(integrity, "file_sha256", slow)
    with pytest.raises(ModelDamagedError, match="written to while"):
        ledger.verify(model)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"files": 3}',
        b'{"files": {"/x": {"sha256": 3}}}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_damaged_ledger_counts_as_empty(
    ledger: Ledger, model: Path, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "data" / "hashes.json"
    path.parent.mkdir()
    path.write_bytes(content)
    assert ledger.verify(model) == file_sha256(model)
    assert "counts as empty" in caplog.text
    caplog.clear()
    ledger.verify(model)
    assert "counts as empty" not in caplog.text


@pytest.mark.usefixtures("later")
def test_a_data_folder_that_cannot_be_written_hinders_nobody(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    ledger = Ledger(tmp_path / "data" / "hashes.json")
    assert ledger.verify(model) == file_sha256(model)
    assert "cannot be remembered" in caplog.text
    with pytest.raises(ModelDamagedError):
        ledger.verify(model, "0" * 64)


def test_an_interrupted_write_leaves_the_old_ledger(
    ledger: Ledger, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.verify(model)
    path = tmp_path / "data" / "hashes.json"
    before = path.read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    ledger.accept(model)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["hashes.json"]


def test_two_files_are_remembered_side_by_side(model: Path, tmp_path: Path, tiny_chatml: Path) -> None:
    path = tmp_path / "hashes.json"
    Ledger(path).verify(model)
    Ledger(path).verify(tiny_chatml)
    assert len(integrity._Book.model_validate_json(path.read_bytes()).files) == 2


def test_a_name_that_is_no_utf_8_is_remembered(ledger: Ledger, model: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd-\xff.gguf"))
    model.rename(odd)
    right = ledger.verify(odd)
    flip(odd, odd.stat().st_size - 100)
    with pytest.raises(ModelDamagedError, match=right):
        ledger.verify(odd)


def test_a_missing_file_is_not_found(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        ledger.verify(tmp_path / "nothing.gguf")


def test_stores_that_name_files_by_hash_publish_it(tmp_path: Path) -> None:
    digest = "ab" * 32
    for name in (digest, f"sha256-{digest}"):
        blob = tmp_path / name
        blob.touch()
        link = tmp_path / f"{name}.gguf"
        link.symlink_to(blob)
        assert sha256_in_name(link) == sha256_in_name(blob) == digest
    assert sha256_in_name(tmp_path / "model.gguf") is None
    assert sha256_in_name(tmp_path / ("ab" * 20)) is None  # a git hash: not of the content alone
