"""`phireside --help` answers before anything heavy is loaded."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "streamlit", "llama_cpp", "langchain_core", "sqlalchemy", "huggingface_hub", "pandas", "numpy"}
CHILD = """
import sys
from phireside.cli import main
sys.argv = ["phireside", *sys.argv[1:], "--help"]
try:
    main()
finally:
    print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("command", [[], ["chat"], ["ui"], ["doctor"], ["models"], ["models", "pull"]])
def test_help_loads_no_heavy_module(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, *command], capture_output=True, text=True, cwd="/")
    shown, _, loaded = done.stdout.partition("LOADED")
    assert done.returncode == 0, done.stderr
    assert "Usage:" in shown
    assert HEAVY & set(loaded.split()) == set()
