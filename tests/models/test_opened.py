"""A model's name is looked up once, until its file is touched or its engine closed."""

import os
import shutil
from pathlib import Path

import pytest

from phireside.errors import ModelDamagedError
from phireside.models.catalog import Catalog, ModelEntry
from phireside.models.opened import Opened, open_model
from phireside.models.runtime import close_runtimes
from phireside.settings import EngineSettings, Settings

pytestmark = pytest.mark.real


@pytest.fixture
def path(tiny_chatml: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny_chatml, tmp_path / "mine.gguf"))


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names, resolve = [], Catalog.resolve

    def noted(self: Catalog, name: str = "auto") -> ModelEntry:
        names.append(name)
        return resolve(self, name)

    monkeypatch.setattr(Catalog, "resolve", noted)
    return names


def opened(path: Path, settings: Settings, template: str | None = None) -> Opened:
    return open_model(str(path), settings, EngineSettings(), template)


def test_a_name_is_looked_up_once_for_each_template(path: Path, settings: Settings, looked_up: list[str]) -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    first, other = opened(path, settings), opened(path, settings, template)
    assert (opened(path, settings), opened(path, settings, template)) == (first, other)
    assert other.encoder is not first.encoder
    assert looked_up == [str(path)] * 2


def test_and_again_when_its_engine_was_closed(path: Path, settings: Settings, looked_up: list[str]) -> None:
    first = opened(path, settings)
    close_runtimes(path)
    assert opened(path, settings).runtime is not first.runtime
    assert len(looked_up) == 2


def test_a_file_that_was_changed_is_checked_though_its_time_was_set_back(path: Path, settings: Settings) -> None:
    opened(path, settings)
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ModelDamagedError):
        opened(path, settings)
