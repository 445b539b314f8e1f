"""One environment for all examples: the built wheel, installed outside the checkout.

All but Phireside is borrowed from this environment, so it is not proven that the wheel's declared dependencies suffice.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., str]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def done(*command: str | Path, cwd: Path, given: str | None = None) -> str:
    """What a program printed; it must end well."""
    process = subprocess.run(command, cwd=cwd, input=given, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="session")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's wheel. It is built from a copy: in the checkout setuptools would pack what older builds left."""
    folder = tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "docs", "benchmarks")
    shutil.copytree(root, folder / "source", ignore=left_out)
    done(*PIP, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source", cwd=folder)
    (built,) = folder.glob("phireside-*.whl")
    return built


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, that borrows all else (llama.cpp takes minutes to build) from this one.

    A path in a `.pth` file is only added: the `.pth` files in there, and so an editable Phireside, do not count.
    """
    folder = tmp_path_factory.mktemp("app") / "venv"
    done(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    own = done(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    (Path(own) / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    install = ["install", "-q", "--no-deps", "--no-index", "--ignore-installed", wheel]
    done(*PIP, "--python", python, *install, cwd=folder)
    return python


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder far from the checkout, with data of its own, where the starter is the model."""
    monkeypatch.setenv("PHIRESIDE_MODEL", "starter")
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", os.fspath(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def example(root: Path, python: Path, place: Path) -> Run:
    """`example("embed.py", "argument", given="stdin")` runs a copy of an example there; what it printed."""

    def run(name: str, *arguments: str, given: str | None = None) -> str:
        shutil.copy(root / "examples" / name, place)
        return done(python, name, *arguments, cwd=place, given=given)

    return run
