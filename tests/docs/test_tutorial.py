"""docs/tutorial.md does what it says: its lines are run one after the other, as a person would, on the starter."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```sh tutorial\n(.*?)^```", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each block prints, in a folder whose .venv is this environment."""
    place = tmp_path_factory.mktemp("clone")
    (place / ".venv").symlink_to(Path(sys.executable).parents[1])
    own = {**os.environ, "PHIRESIDE_DATA_DIR": str(place / "data"), "PHIRESIDE_MODEL": "starter"}
    shown = []
    for block in BLOCK.findall(PAGE.read_text()):
        command = ["bash", "-euc", block]
        done = subprocess.run(command, cwd=place, env=own, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        shown.append(done.stdout)
    return shown


def test_every_step_shows_what_the_page_says(printed: list[str]) -> None:
    rivers, _, listed, found, rent = printed
    assert len(rivers.split()) > 2
    assert "flat.md" in listed
    assert "garden.md" in listed
    assert "900 euros" in found
    assert "Otto" not in found
    assert "900 euros" in rent
    assert "[1]" in rent
    assert "flat.md" in rent
