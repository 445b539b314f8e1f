"""Downloads in the background, from a hub on a loopback address: stopped, gone on with, failed, deleted."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from hub import Hub

from phireside.errors import DownloadError, EngineBusyError, ModelNotFoundError, RequestError
from phireside.models import Catalog
from phireside.models import download as transfer
from phireside.models.downloads import Download, Downloads, unload
from phireside.models.engine import Request
from phireside.models.found import ModelFolders
from phireside.models.loaded import load, loaded_models
from phireside.settings import Settings

NAME = "hf:o/r/x.gguf"
PART = 3_000_000  # bytes after which the hub breaks off


@pytest.fixture
def catalog(settings: Settings, hub: Hub, tiny_phi3: Path) -> Catalog:
    hub.body = tiny_phi3.read_bytes()
    return Catalog(settings, ModelFolders(), endpoint=hub.url)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Where a transfer that broke off waits until this is set."""
    gate = Event()
    monkeypatch.setattr(transfer, "time", SimpleNamespace(sleep=lambda _: gate.wait(60)))
    yield gate
    gate.set()


@pytest.fixture
def downloads(catalog: Catalog, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Downloads]:
    monkeypatch.setattr(transfer, "_PAUSE_S", 0.0)
    downloads = Downloads(catalog, settings)
    yield downloads
    assert downloads.stop_all(20)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def ended(download: Download) -> Download:
    until(lambda: not download.under_way)
    return download


def broken_off(downloads: Downloads, hub: Hub) -> Download:
    """A download that waits at the gate, with a part of the file."""
    hub.breaks = [PART]
    download = downloads.start(NAME)
    until(lambda: download.done >= PART)
    return download


def stopped(downloads: Downloads, hub: Hub, gate: Event) -> Download:
    """A download that was stopped between two attempts."""
    download = broken_off(downloads, hub)
    downloads.stop(downloads._catalog.find(NAME))
    gate.set()
    assert ended(download).state == "stopped"
    return download


def test_a_download_runs_in_the_background(downloads: Downloads, catalog: Catalog, hub: Hub) -> None:
    download = downloads.start(NAME)
    assert downloads.start(NAME) is download or not download.under_way
    assert ended(download).state == "done"
    assert download.done == download.total == len(hub.body)
    assert catalog.resolve(NAME).sha256 == hub.sha256
    assert downloads.of(catalog.find(NAME)) is download
    assert downloads.all() == [download]


def test_one_that_was_stopped_goes_on_also_in_another_process(
    downloads: Downloads, catalog: Catalog, settings: Settings, hub: Hub, gate: Event
) -> None:
    stopped(downloads, hub, gate)
    entry = catalog.find(NAME)
    assert entry.path is None
    assert len(hub.body) > downloads.kept(entry) >= PART
    other = Downloads(catalog, settings)
    assert NAME in [each.name for each in other.entries()], "Its part is on disk."
    assert NAME not in [each.name for each in catalog.entries()]
    hub.requests.clear()
    assert ended(other.start(NAME)).state == "done"
    assert hub.ranges() != [None]
    assert downloads.kept(entry) == 0


def test_a_stop_is_taken_back_by_a_start(downloads: Downloads, catalog: Catalog, hub: Hub, gate: Event) -> None:
    download = broken_off(downloads, hub)
    downloads.stop(catalog.find(NAME))
    assert download.state == "stopping"
    assert downloads.start(NAME) is download
    gate.set()
    assert ended(download).state == "done"


def test_why_it_failed_is_kept_and_the_next_start_begins_anew(downloads: Downloads, hub: Hub) -> None:
    hub.status = 404
    download = ended(downloads.start(NAME))
    assert isinstance(download.error, DownloadError)
    assert "no such file" in download.error.message
    hub.status = 0
    assert ended(downloads.start(NAME)).state == "done"


def test_what_is_on_no_hub_is_refused(downloads: Downloads) -> None:
    with pytest.raises(DownloadError):
        downloads.start("starter")
    with pytest.raises(ModelNotFoundError):
        downloads.start("hf:../../x.gguf")
    assert downloads.all() == []


def test_what_was_downloaded_is_deleted_with_all_that_belongs_to_it(
    downloads: Downloads, catalog: Catalog, settings: Settings, hub: Hub
) -> None:
    ended(downloads.start(NAME))
    states = settings.state_dir / hub.sha256[:16] / "x"
    states.mkdir(parents=True)
    (states / "1.kv").write_bytes(b"x")
    other = settings.models_dir / "mine.gguf"
    other.write_bytes(hub.body)
    entry = catalog.find(NAME)
    assert downloads.deletable(entry)
    assert downloads.delete(entry) == len(hub.body)
    assert list(settings.models_dir.rglob("*")) == [other]
    assert not states.exists()
    assert catalog.find(NAME).path is None


def test_an_unfinished_download_is_discarded(
    downloads: Downloads, catalog: Catalog, settings: Settings, hub: Hub, gate: Event
) -> None:
    stopped(downloads, hub, gate)
    entry = catalog.find(NAME)
    assert downloads.delete(entry) >= PART
    assert list(settings.models_dir.rglob("*")) == []
    assert downloads.of(entry) is None
    assert NAME not in [each.name for each in downloads.entries()]


def test_what_others_brought_is_not_deleted(
    downloads: Downloads, catalog: Catalog, tiny_phi3: Path, tmp_path: Path
) -> None:
    assert not downloads.deletable(catalog.find("starter"))
    other = Path(shutil.copy(tiny_phi3, tmp_path / "other.gguf"))  # a copy: if this fails, it is gone
    entry = catalog.find(str(other))
    assert not downloads.deletable(entry)
    with pytest.raises(RequestError, match="is not in"):
        downloads.delete(entry)
    assert other.exists()


def test_a_start_while_it_is_being_stopped_is_not_lost(
    downloads: Downloads, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def pull(name: str, progress: Callable[[int, int], None]) -> None:
        calls.append(name)
        if len(calls) == 1:
            downloads.stop(catalog.find(NAME))
            try:
                progress(1, 2)
            finally:  # it has left the transfer, and its end is not noted yet
                downloads.start(NAME)

    monkeypatch.setattr(catalog, "pull", pull)
    assert ended(downloads.start(NAME)).state == "done"
    assert calls == [NAME, NAME]


def test_a_download_under_way_is_not_deleted(downloads: Downloads, catalog: Catalog, hub: Hub, gate: Event) -> None:
    download = broken_off(downloads, hub)
    with pytest.raises(RequestError, match="Stop the download"):
        downloads.delete(catalog.find(NAME))
    gate.set()
    assert ended(download).state == "done"


@pytest.mark.real
def test_a_loaded_model_is_unloaded_unless_it_is_at_work(catalog: Catalog, settings: Settings, tiny_phi3: Path) -> None:
    small = settings.model_copy(update={"engine": settings.engine.model_copy(update={"n_ctx": 512})})
    engine = load(str(tiny_phi3), catalog, small)
    try:
        assert [each.stats.state for each in loaded_models() if each.path == tiny_phi3] == ["ready"]
        answer = engine.complete(Request(tuple(range(300, 320)), max_tokens=450))
        next(iter(answer))
        with pytest.raises(EngineBusyError, match="1 request"):
            unload(tiny_phi3)
        answer.cancel()
        until(lambda: engine.stats().running == 0)
        assert unload(tiny_phi3)
        assert tiny_phi3 not in [each.path for each in loaded_models()]
        assert not unload(tiny_phi3)
        assert load(str(tiny_phi3), catalog, small) is not engine, "It is loaded anew when it is asked for."
    finally:
        unload(tiny_phi3)
