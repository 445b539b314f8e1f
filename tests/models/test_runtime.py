"""One runtime for each file and settings, however many ask for it at once."""

import threading
from pathlib import Path

import pytest

from phireside.errors import ModelNotFoundError, TemplateError
from phireside.models.runtime import Runtime, close_all, runtimes, shared_runtime
from phireside.settings import EngineSettings


@pytest.fixture(autouse=True)
def _none_left() -> None:
    close_all()


@pytest.mark.real
def test_eight_threads_that_ask_at_once_share_one_runtime(tiny_chatml: Path) -> None:
    together = threading.Barrier(8)
    got: list[Runtime] = []

    def ask() -> None:
        together.wait()
        got.append(shared_runtime(tiny_chatml, EngineSettings()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert len(set(map(id, got))) == 1
    assert runtimes() == got[:1]


@pytest.mark.real
def test_a_runtime_has_no_weights_in_memory_before_a_request(tiny_chatml: Path) -> None:
    assert shared_runtime(tiny_chatml, EngineSettings()).engine.stats().state == "unloaded"


@pytest.mark.real
def test_a_template_is_compiled_once_and_a_bad_one_is_not_kept(tiny_chatml: Path) -> None:
    runtime = shared_runtime(tiny_chatml, EngineSettings())
    assert runtime.encoder() is runtime.encoder()
    assert runtime.encoder("{{ messages[0].content }}") is not runtime.encoder()
    for _ in range(2):
        with pytest.raises(TemplateError):
            runtime.encoder("")


def test_a_file_that_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        shared_runtime(tmp_path / "no.gguf", EngineSettings())
    assert runtimes() == []
