"""A small engine on the random model, and a judge that evaluates the same model the plain way."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_tools import SMALL, Judge
from mamba import write_mamba

from phireside.models.engine import Engine


@pytest.fixture(scope="module")
def judge(tiny_phi3: Path) -> Iterator[Judge]:
    judge = Judge(tiny_phi3, base=SMALL)
    yield judge
    judge.close()


@pytest.fixture
def engine(tiny_phi3: Path) -> Iterator[Engine]:
    with Engine(tiny_phi3, SMALL) as engine:
        yield engine


@pytest.fixture(scope="session")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mamba(tmp_path_factory.mktemp("weights") / "mamba.gguf")
