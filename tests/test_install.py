"""`.ci/install.py`, on which `make` stands: what is installed is noted, and the compiler's progress is shown."""

import importlib.util
import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a checkout and an environment of its own in `tmp_path`, and a pip that only notes its calls."""
    spec = importlib.util.spec_from_file_location("install", ROOT / ".ci" / "install.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / ".venv").mkdir()
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    for name, path in {
        "ROOT": tmp_path,
        "VENV": tmp_path / ".venv",
        "STAMP": tmp_path / ".venv" / ".installed",
    }.items():
        monkeypatch.setattr(module, name, path)
    monkeypatch.setattr(module, "calls", [], raising=False)
    monkeypatch.setattr(module, "pip", lambda *arguments: module.calls.append(arguments))
    monkeypatch.setattr(module, "make_venv", lambda: None)
    monkeypatch.setattr(module, "install_llama", lambda: None)
    monkeypatch.setattr(module, "install_torch", lambda: None)
    return module


def run(install: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run it, and say how often it called pip."""
    install.calls.clear()
    monkeypatch.setattr(sys, "argv", ["install.py", *arguments])
    install.main()
    return len(install.calls)


def test_a_second_run_does_nothing(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [run(install, monkeypatch, "starter") for _ in range(2)] == [1, 0]


def test_the_tests_extra_serves_the_chat_too(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    run(install, monkeypatch, "dev")
    assert run(install, monkeypatch, "starter") == 0
    assert run(install, monkeypatch, "bench") == 1
    assert run(install, monkeypatch, "dev") == 0


def test_a_changed_pyproject_is_installed(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    run(install, monkeypatch, "starter")
    (install.ROOT / "pyproject.toml").write_text("[project]\ndependencies = ['new']\n")
    assert run(install, monkeypatch, "starter") == 1


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff", b"starter", b"0 starter"])
def test_a_damaged_note_means_not_installed(
    content: bytes, install: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    install.STAMP.write_bytes(content)
    assert run(install, monkeypatch, "starter") == 1


def test_an_installation_that_failed_is_tried_again(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: str) -> None:
        raise SystemExit(1)

    run(install, monkeypatch, "starter")
    with monkeypatch.context() as patch:
        patch.setattr(install, "pip", fail)
        with pytest.raises(SystemExit):
            run(install, patch, "dev")
    assert run(install, monkeypatch, "dev") == 1


@pytest.mark.parametrize(
    ("line", "shown"),
    [("  [12/193] /usr/bin/g++ -O3\n", "step 12 of 193"), ("  [ 42%] Building CXX object\n", "42 %")],
)
def test_the_compilers_progress_is_shown_and_all_is_logged(
    line: str, shown: str, install: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    log = io.StringIO()
    lines = ["  Building wheel for llama-cpp-python (pyproject.toml): started\n", line, line]
    install.show_build(lines, log)
    assert log.getvalue() == "".join(lines)
    output = capsys.readouterr().out
    assert "about 5 minutes" in output
    assert output.count(shown) == 1


def test_make_alone_lists_the_two_commands() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "make chat " in done.stdout
    assert "make test " in done.stdout


def test_the_note_says_what_it_depends_on(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    run(install, monkeypatch, "dev")
    assert install.STAMP.read_text().split() == [install.key(), "dev", "starter"]
