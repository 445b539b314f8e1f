"""The GPUs that llama.cpp knows: read from ggml, as this build has it and as one with GPUs would."""

from types import SimpleNamespace
from typing import Any

import pytest

from phireside.models.engine import devices
from phireside.models.engine.devices import Gpu, gpus, listed
from phireside.models.engine.library import build_info, llama

CARDS = [(0, b"CPU", 1, 2), (1, b"NVIDIA H100", 70_000_000_000, 80_000_000_000), (3, b"BLAS", 0, 0), (2, b"Arc", 5, 9)]


def library(cards: list[tuple[int, bytes, int, int]]) -> Any:
    """ggml with these devices: kind, name, free and total bytes."""

    def memory(device: int, free: Any, total: Any) -> None:
        free._obj.value, total._obj.value = cards[device][2:]

    return SimpleNamespace(
        ggml_backend_dev_count=lambda: len(cards),
        ggml_backend_dev_get=lambda number: number,
        ggml_backend_dev_type=lambda device: cards[device][0],
        ggml_backend_dev_description=lambda device: cards[device][1],
        ggml_backend_dev_memory=memory,
    )


def test_only_gpus_are_listed_with_their_memory() -> None:
    assert listed(library(CARDS)) == [
        Gpu("NVIDIA H100", 70_000_000_000, 80_000_000_000),
        Gpu("Arc", 5, 9),
    ]


def test_this_build_is_asked_only_if_it_has_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    llama()
    from llama_cpp._ggml import libggml

    found = listed(libggml)  # the names that we call are there, whatever this machine has
    assert all(0 <= gpu.free <= gpu.total for gpu in found)
    assert bool(found) <= build_info().gpu
    monkeypatch.setattr(devices, "build_info", lambda: SimpleNamespace(gpu=False))
    monkeypatch.setattr(devices, "listed", lambda _: pytest.fail("It was asked."))
    assert gpus() == []
