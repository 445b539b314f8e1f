"""`examples/embed.py` runs in another place: on the built wheel, in an environment of its own, outside the checkout.

All but Phireside is borrowed from this environment, so it is not proven that the wheel's declared dependencies suffice.
"""

import csv
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.real
MOODS = {"positive", "negative"}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's wheel. It is built from a copy: in the checkout setuptools would pack what older builds left."""
    folder = tmp_path_factory.mktemp("wheel")
    left_out = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "tests", "docs", "benchmarks")
    shutil.copytree(root, folder / "source", ignore=left_out)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source", cwd=folder)
    (built,) = folder.glob("phireside-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, that borrows all else (llama.cpp takes minutes to build) from this one.

    A path in a `.pth` file is only added: the `.pth` files in there, and so an editable Phireside, do not count.
    """
    folder = tmp_path_factory.mktemp("app") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    (Path(own) / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(*pip, "install", "-q", "--no-deps", "--no-index", "--ignore-installed", wheel, cwd=folder)
    return python


@pytest.fixture
def place(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder far from the checkout, with a copy of the example."""
    shutil.copy(root / "examples" / "embed.py", tmp_path)
    monkeypatch.setenv("PHIRESIDE_MODEL", "starter")
    return tmp_path


def test_phireside_comes_from_the_wheel_with_its_prompts(python: Path, place: Path, root: Path) -> None:
    code = "import phireside.chains as c; from phireside.chains.prompt_files import FOLDER; print(c.__file__, FOLDER)"
    module, prompts = run(python, "-c", code, cwd=place).split()
    assert Path(module).is_relative_to(python.parent.parent)
    shipped = {file.name for file in (root / "chains" / "prompts").glob("*.yaml")}
    assert {file.name for file in Path(prompts).iterdir()} == shipped


def test_the_example_fills_a_table(python: Path, place: Path) -> None:
    with (place / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["review"], ["The kettle is quick. I like it {very} much."], [""], ["Broken lamp."]]
        )
    assert run(python, "embed.py", "reviews.csv", "sorted.csv", cwd=place) == ""
    with (place / "sorted.csv").open() as file:
        good, empty, bad = csv.DictReader(file)
    for row in (good, bad):
        assert row["mood"] in MOODS
        assert 0.5 <= float(row["sure"].rstrip("%")) / 100 <= 1
        assert row["product"]
        assert len(row["topics"].split(", ")) <= 3
        assert row["summary"]
        assert row["error"] == ""
    assert "empty" in empty["error"]
    assert (empty["mood"], empty["summary"]) == ("", "")


def test_the_example_shows_its_own_reviews(python: Path, place: Path) -> None:
    shown = run(python, "embed.py", cwd=place)
    assert all(name in shown for name in ("review", "mood", "product", "topics", "summary"))
    assert any(mood in shown for mood in MOODS)
    assert os.fspath(place) not in shown
