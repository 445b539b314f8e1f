"""Row 14: a damaged model file is refused before llama.cpp sees it, with the reason and the expected hash.

llama.cpp itself refused 15 of 15 truncations and loaded 25 of 40 files with a flipped bit (../shared/RELIABILITY.md).
"""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phireside.errors import ModelDamagedError, ModelNotFoundError
from phireside.models import catalog as module
from phireside.models.catalog import STARTER_SHA256, Catalog, ModelFolders
from phireside.models.integrity import file_sha256
from phireside.settings import Settings

Figure = Callable[[int, str], None]
PHI_3 = "microsoft/Phi-3-mini-4k-instruct-gguf/Phi-3-mini-4k-instruct-q4.gguf"
PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"


@contextmanager
def truncated(path: Path, length: int) -> Iterator[None]:
    """The file, cut at `length` for a while."""
    with path.open("r+b") as file:
        file.seek(length)
        rest = file.read()
        file.truncate(length)
    yield
    with path.open("ab") as file:
        file.write(rest)


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """The file, with one bit wrong for a while."""
    _flip(path, bit)
    yield
    _flip(path, bit)


def _flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """The file, replaced by another of its name for a while."""
    aside = path.with_name("aside")
    path.rename(aside)
    path.write_bytes(content)
    yield
    aside.replace(path)


def faults(path: Path) -> Iterator[None]:
    """Cut at 15 points, 40 flips (10 of them in the metadata), 0 bytes, and a web page: one after another."""
    size = path.stat().st_size
    chance = random.Random(14)
    for share in range(15):
        with truncated(path, size * share // 15 + share):
            yield
    for number in range(40):
        with flipped(path, chance.randrange(8 * (200_000 if number < 10 else size))):
            yield
    for content in (b"", PAGE):
        with replaced(path, content):
            yield


def refusal(catalog: Catalog, name: str) -> str | None:
    """What a person is told, None if the model is let through."""
    try:
        catalog.resolve(name)
    except ModelDamagedError as error:
        return str(error)
    return None


def count_silent(catalog: Catalog, name: str, path: Path, expected: str) -> tuple[int, int]:
    """(silent loads, faults); every refusal names a reason, the expected hash, and what to do."""
    answers = [refusal(catalog, name) for _ in faults(path)]
    for answer in filter(None, answers):
        assert f"Expected sha256 {expected}, found" in answer
        assert "is damaged: " in answer
        assert "phireside models pull" in answer
    return answers.count(None), len(answers)


def report(figure: Figure, what: str, silent: int, total: int) -> None:
    figure(14, f"{what}: {silent} silent loads in {total} faults (95 % bound {3 / total:.1%})")
    assert silent == 0


def test_a_file_once_used_is_refused_when_damaged(settings: Settings, tiny_phi3: Path, figure: Figure) -> None:
    settings.models_dir.mkdir(parents=True)
    path = Path(shutil.copy(tiny_phi3, settings.models_dir / "mine.gguf"))
    catalog = Catalog(settings, ModelFolders())
    expected = catalog.resolve("mine").sha256
    assert expected
    report(figure, "a person's own file, after its first use", *count_silent(catalog, "mine", path, expected))
    assert catalog.resolve("mine").sha256 == expected  # whole again


def test_a_file_with_a_published_hash_is_refused_on_first_use(
    settings: Settings, tiny_phi3: Path, tmp_path: Path, figure: Figure
) -> None:
    expected = file_sha256(tiny_phi3)
    blob = tmp_path / "ollama/blobs" / f"sha256-{expected}"
    blob.parent.mkdir(parents=True)
    shutil.copy(tiny_phi3, blob)
    catalog = Catalog(settings, ModelFolders())
    silent, total = count_silent(catalog, str(blob), blob, expected)
    assert not (settings.data_dir / "model-hashes.json").exists()  # nothing was let through, so nothing remembered
    report(figure, "a file with a published hash, on first use", silent, total)


@pytest.mark.slow
def test_the_starter_is_refused_when_damaged(
    settings: Settings, starter_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    package = tmp_path / "copied_starter"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('the starter is located, never imported')")
    path = Path(shutil.copy(starter_path, package))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "_STARTER_PACKAGE", "copied_starter")
    catalog = Catalog(settings, ModelFolders())
    report(figure, "the starter, 98 MB", *count_silent(catalog, "starter", path, STARTER_SHA256))


def test_a_part_left_over_is_no_model(settings: Settings, tiny_phi3: Path, figure: Figure) -> None:
    part = settings.models_dir / f"{PHI_3}.0123456789abcdef.part"
    part.parent.mkdir(parents=True)
    shutil.copy(tiny_phi3, part)  # even a complete one: it was not checked yet
    catalog = Catalog(settings, ModelFolders())
    assert part not in [entry.path for entry in catalog.entries()]
    with pytest.raises(ModelNotFoundError):
        catalog.resolve("phi-3")
    with pytest.raises(ModelNotFoundError):
        catalog.resolve("Phi-3-mini-4k-instruct-q4.gguf.0123456789abcdef.part")
    figure(14, "a .part left over: 0 of 1 taken for a model")


@pytest.mark.parametrize("keep_times", [False, True])
def test_a_file_replaced_while_it_is_loaded_is_noticed(
    settings: Settings, tiny_phi3: Path, tiny_chatml: Path, figure: Figure, keep_times: bool
) -> None:
    settings.models_dir.mkdir(parents=True)
    path = Path(shutil.copy(tiny_phi3, settings.models_dir / "mine.gguf"))
    catalog = Catalog(settings, ModelFolders())
    expected = catalog.resolve("mine").sha256
    assert expected
    with path.open("rb") as loaded:  # as llama.cpp holds it
        other = Path(shutil.copy(tiny_chatml, path.with_name("new")))
        if keep_times:
            os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
        other.replace(path)
        assert loaded.read() == tiny_phi3.read_bytes()  # what is loaded stays what it was
    with pytest.raises(ModelDamagedError, match=expected) as caught:
        catalog.resolve("mine")
    assert "phireside models accept" in caught.value.hint
    figure(14, f"replaced by rename while loaded{', times kept' if keep_times else ''}: 0 of 1 unnoticed")
