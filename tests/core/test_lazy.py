"""Names that are imported when first asked for."""

import subprocess
import sys

import pytest

ROOMS = ["chains", "memory", "retrieval", "retrieval.loading", "tools", "agents", "agents.scenarios"]


def output(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_room_is_imported_without_its_modules() -> None:
    code = "import sys, phireside.chains; print([m for m in sys.modules if m.startswith('phireside.chains.')])"
    assert output(code) == "[]"


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_there(room: str) -> None:
    code = f"import phireside.{room} as room; print([n for n in room.__all__ if not hasattr(room, n)])"
    assert output(code) == "[]"


def test_a_module_does_not_take_the_place_of_what_is_named_like_it() -> None:
    code = "import phireside.chains.classify; from phireside.chains import classify; print(type(classify).__name__)"
    assert output(code) == "function"


def test_an_unknown_name_is_an_attribute_error() -> None:
    code = """
try:
    from phireside.chains import nonsense
except ImportError as error:
    print(error)
"""
    assert "nonsense" in output(code)
