"""The house is what pyproject.toml and CONTRIBUTING.md say it is."""

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import phireside

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PROJECT["tool"]["setuptools"]
NOT_PACKAGED = {"tests", "benchmarks", "examples", "docs", ".ci"}
ROOMS = [package for package in SETUPTOOLS["packages"] if package != "phireside.scenarios"]  # that has YAML alone
HEAVY = {"torch", "streamlit", "llama_cpp", "sentence_transformers", "faiss", "pandas"}


def kept_files() -> list[Path]:
    """What git keeps or would keep: a checkout may hold any number of ignored things."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    return [Path(line) for line in listing.stdout.splitlines() if (ROOT / line).exists()]


def packaged(files: list[Path]) -> list[Path]:
    return [file for file in files if len(file.parts) > 1 and file.parts[0] not in NOT_PACKAGED]


def folder_of(package: str) -> Path:
    """`phireside.models.engine` -> `models/engine`, by package-dir's longest match."""
    owner = max((name for name in SETUPTOOLS["package-dir"] if f"{package}.".startswith(f"{name}.")), key=len)
    return Path(SETUPTOOLS["package-dir"][owner], *package.removeprefix(owner).split(".")[1:])


def run_python(code: str) -> str:
    """The output of a fresh interpreter, started outside the checkout."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_packages_list_names_exactly_the_folders_that_hold_python() -> None:
    folders = {file.parent for file in packaged(kept_files()) if file.suffix == ".py"}
    assert {folder_of(package) for package in ROOMS} == folders


@pytest.mark.parametrize("package", ROOMS)
def test_every_room_says_what_it_is_for(package: str) -> None:
    source = (ROOT / folder_of(package) / "__init__.py").read_text()
    assert len(ast.get_docstring(ast.parse(source)) or "") > 30


def test_every_file_beside_the_code_is_packaged_with_it() -> None:
    listed = {
        path.relative_to(ROOT)
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in (ROOT / folder_of(package)).glob(pattern)
    }
    assert {file for file in packaged(kept_files()) if file.suffix != ".py"} == listed


def test_the_root_folder_stays_small() -> None:
    seen = {file.parts[0] for file in kept_files() if not file.parts[0].startswith(".")}
    assert len(seen) <= 20, sorted(seen)


def test_no_module_is_too_long_to_read_in_one_go() -> None:
    lengths = {file: len((ROOT / file).read_text().splitlines()) for file in kept_files() if file.suffix == ".py"}
    assert {str(file): lines for file, lines in lengths.items() if lines > 450} == {}


def test_the_version_is_the_same_everywhere() -> None:
    assert phireside.__version__ == PROJECT["project"]["version"] == importlib.metadata.version("phireside")


@pytest.mark.parametrize(
    "module", ["phireside", "phireside.models", "phireside.models.catalog", "phireside.memory", "phireside.retrieval"]
)
def test_import_loads_no_heavy_module(module: str) -> None:
    loaded = run_python(f"import sys, {module}; print(*sorted(name.partition('.')[0] for name in sys.modules))")
    assert HEAVY & set(loaded.split()) == set()


def test_import_works_without_the_native_library() -> None:
    run_python("import sys; sys.modules['llama_cpp'] = None; from phireside.models import Catalog, ChatGGUF")
