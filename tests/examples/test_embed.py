"""`examples/embed.py` fills a table, on the built wheel."""

import csv
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.real
MOODS = {"positive", "negative"}


def test_phireside_comes_from_the_wheel_with_its_prompts(python: Path, place: Path, root: Path) -> None:
    code = "import phireside.chains as c; from phireside.chains.prompt_files import FOLDER; print(c.__file__, FOLDER)"
    done = subprocess.run([python, "-c", code], cwd=place, capture_output=True, text=True, check=True)
    module, prompts = done.stdout.split()
    assert Path(module).is_relative_to(python.parent.parent)
    shipped = {file.name for file in (root / "chains" / "prompts").glob("*.yaml")}
    assert {file.name for file in Path(prompts).iterdir()} == shipped


def test_the_example_fills_a_table(example: Callable[..., str], place: Path) -> None:
    with (place / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["review"], ["The kettle is quick. I like it {very} much."], [""], ["Broken lamp."]]
        )
    assert example("embed.py", "reviews.csv", "sorted.csv") == ""
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


def test_the_example_shows_its_own_reviews(example: Callable[..., str], place: Path) -> None:
    shown = example("embed.py")
    assert all(name in shown for name in ("review", "mood", "product", "topics", "summary"))
    assert any(mood in shown for mood in MOODS)
    assert os.fspath(place) not in shown
