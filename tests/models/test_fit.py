"""Whether a model fits: the verdict for every kind of machine, and what a model needs with shorter contexts."""

from dataclasses import replace
from pathlib import Path

import pytest

from phireside.models import Catalog, ModelEntry
from phireside.models.fit import Fit, Machine, judge, needs
from phireside.models.found import ModelFolders
from phireside.models.info import MemoryNeed
from phireside.settings import EngineSettings, Settings

GB = 1_000_000_000
NEED = MemoryNeed(n_ctx=4096, cells=4096, weights=2 * GB, kv_cache=2 * GB, compute=0, gpu=3 * GB, free=0)
SHORT = replace(NEED, n_ctx=1024, kv_cache=GB // 2, gpu=2 * GB)


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    return Catalog(settings, ModelFolders())


@pytest.mark.parametrize(
    ("machine", "verdict", "main", "longest"),
    [
        (Machine(5 * GB, 8 * GB), "fits", 4 * GB, 4096),
        (Machine(3 * GB, 8 * GB), "too little free", 4 * GB, 1024),
        (Machine(1 * GB, 8 * GB), "too little free", 4 * GB, 0),
        (Machine(4 * GB, 4 * GB), "too large", 4 * GB, 1024),
        (Machine(2 * GB, 8 * GB, 4 * GB, 6 * GB), "fits on the GPU", 1 * GB, 4096),
        (Machine(GB // 2, 8 * GB, 4 * GB, 6 * GB), "too little free", 1 * GB, 1024),
        (Machine(9 * GB, 9 * GB, 2 * GB, 6 * GB), "GPU too small", 1 * GB, 1024),
    ],
)
def test_the_verdict(machine: Machine, verdict: str, main: int, longest: int) -> None:
    fit = judge([NEED, SHORT], machine)
    assert fit == Fit(verdict, NEED, main, longest)  # type: ignore[arg-type]
    assert fit.fits == verdict.startswith("fits")


def test_a_model_that_uses_no_gpu_needs_its_memory_here() -> None:
    fit = judge([replace(NEED, gpu=0)], Machine(5 * GB, 8 * GB, 1, 1))
    assert (fit.verdict, fit.main) == ("fits", 4 * GB)


def test_a_file_needs_what_its_header_says_and_less_with_a_shorter_context(catalog: Catalog, tiny_phi3: Path) -> None:
    entry = catalog.find(str(tiny_phi3))
    found = needs(entry, EngineSettings(n_ctx=4096))
    assert [need.n_ctx for need in found] == [4096, 2048, 1024, 512]
    info = Catalog(Settings(engine={"n_ctx": 4096}), ModelFolders()).info(str(tiny_phi3))
    assert replace(found[0], free=0) == replace(info.memory, free=0)
    assert found[-1].total <= found[0].total


def test_phi_3_is_reckoned_before_it_is_downloaded(catalog: Catalog) -> None:
    q4, f16 = (needs(catalog.find(name), EngineSettings(n_gpu_layers=0))[0] for name in ("phi-3", "phi-3-fp16"))
    assert (q4.n_ctx, q4.kv_cache) == (4096, 4096 * 32 * 2 * 3072 * 2), "Keys and values of 32 layers in 16 bit."
    assert f16.total - q4.total == f16.weights - q4.weights > 5 * GB
    assert q4.gpu == 0
    halved = needs(catalog.find("phi-3"), EngineSettings(type_k="q8_0", n_gpu_layers=-1))[0]
    assert halved.kv_cache < q4.kv_cache
    assert halved.gpu == halved.weights + halved.kv_cache


def test_nobody_knows_what_a_file_on_the_hub_needs() -> None:
    assert needs(ModelEntry("hf:o/r/x.gguf", "on the hub", "hub", hub="o/r/x.gguf"), EngineSettings()) == []


def test_this_machine_has_memory() -> None:
    machine = Machine.now()
    assert 0 < machine.free <= machine.total
    assert machine.gpu_free <= machine.gpu_total
