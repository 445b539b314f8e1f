"""`examples/notebook.ipynb` runs from top to bottom in the wheel's environment, and is kept without outputs."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

EXECUTE = """
import nbclient, nbformat
book = nbformat.read("notebook.ipynb", 4)
nbclient.NotebookClient(book, timeout=120).execute()
nbformat.write(book, "run.ipynb")
"""


def cells(file: Path) -> list[dict[str, object]]:
    return [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]


def test_no_output_is_kept_in_the_checkout(root: Path) -> None:
    assert [cell for cell in cells(root / "examples" / "notebook.ipynb") if cell["outputs"]] == []


@pytest.mark.real
def test_every_cell_runs_and_the_answer_names_its_review(python: Path, place: Path, root: Path) -> None:
    shutil.copy(root / "examples" / "notebook.ipynb", place)
    own = {**os.environ, "IPYTHONDIR": str(place / "ipython"), "JUPYTER_RUNTIME_DIR": str(place / "jupyter")}
    done = subprocess.run([python, "-c", EXECUTE], cwd=place, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = [json.dumps(cell["outputs"]) for cell in cells(place / "run.ipynb")]
    assert all(mood in shown[1] for mood in ("positive", "negative"))
    assert "product" in shown[2]
    assert "broken switch [2]" in shown[3]
