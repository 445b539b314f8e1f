"""Random test models: GGUFs of the `phi3` architecture, written once per run by benchmarks/phi3_shape.py (8.9 MB each).

They know no language: what they generate is the same noise every time, and greedy decoding never ends by itself.
"""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load_benchmark(name: str) -> ModuleType:
    """Import `benchmarks/NAME.py`, which is a folder of scripts and not a package."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_phi3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer with Phi-3's tokenizer kind, special tokens and chat template (no system role)."""
    path = tmp_path_factory.mktemp("weights") / "tiny-phi3.gguf"
    return load_benchmark("phi3_shape").write_phi3(path, tiny=True)


@pytest.fixture(scope="session")
def tiny_chatml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with ChatML, SmolLM2's template, which has a system role."""
    path = tmp_path_factory.mktemp("weights") / "tiny-chatml.gguf"
    return load_benchmark("phi3_shape").write_phi3(path, tiny=True, dialect="chatml")
