"""The modules of benchmarks/, which is a folder of scripts that find their neighbours by `sys.path`."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType

import pytest
from weights import BENCHMARKS


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[str], ModuleType]]:
    """`load("app_parts.stream")`; no module of theirs outlives the test module."""
    before, known = list(sys.path), set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    yield import_module
    sys.path[:] = before
    for name in set(sys.modules) - known:
        module = sys.modules[name]
        if str(BENCHMARKS) in str(getattr(module, "__file__", None) or list(getattr(module, "__path__", ()))):
            del sys.modules[name]
