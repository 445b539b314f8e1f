"""`phireside serve` as a program of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVE = "import typer; from phireside.cli.serve import serve; typer.run(serve)"


@contextmanager
def serving(model: str | Path, folder: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Its address, and the process, which is killed at the end if it has not ended.

    Args:
        model: as for `--model`.
        folder: its data, and where it runs.
    """
    command = [sys.executable, "-P", "-c", SERVE, "--port", "0", "--model", str(model)]
    environment = os.environ | {"PHIRESIDE_DATA_DIR": str(folder)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stderr
        try:
            told = ""
            while "API is at" not in told and (line := process.stderr.readline()):
                told += line
            found = re.search(r"http://127\.0\.0\.1:[0-9]+", told)
            assert found, told
            yield found[0], process
        finally:
            process.kill()
