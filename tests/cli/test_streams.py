"""Any command, whatever its streams are: closed, full, of another encoding, without a reader."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from phireside import cli
from phireside.cli import app, output

PHIRESIDE = str(Path(sys.executable).with_name("phireside"))


def run(*args: str, **how: Any) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, **how.pop("env", {})}
    return subprocess.run(
        [PHIRESIDE, *args], env=environment, check=False, timeout=120, **{"capture_output": True, **how}
    )


def shell(line: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("redirected", "code", "words"),
    [
        (f"{PHIRESIDE} config show --json >&-", 0, b""),
        (f"{PHIRESIDE} config show <&- 2>&-", 0, b"data_dir"),
        (f"{PHIRESIDE} config show > /dev/full", 1, b"No space left on device"),
        (f"{PHIRESIDE} --version > /dev/full", 1, b"Error: No space left on device"),
        (f"{PHIRESIDE} config show --json | true", 141, b""),
        (f"{PHIRESIDE} config show | head -n 1", 0, b"data_dir"),
        (f"{PHIRESIDE} ask <&-", 1, b"There is no question"),
    ],
)
def test_a_stream_that_is_closed_or_full_is_no_fault_of_the_command(redirected: str, code: int, words: bytes) -> None:
    done = shell(redirected)
    assert done.returncode in ({0, 141} if "|" in redirected else {code})  # it may have written all before it is unread
    assert words in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


def test_json_is_json_in_any_encoding_and_other_text_is_shown_as_far_as_it_can_be() -> None:
    how = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PHIRESIDE_SYSTEM_PROMPT": "Être \U0001f525"}
    rows = json.loads(run("config", "show", "--json", env=how).stdout)
    assert next(row["value"] for row in rows if row["name"] == "system_prompt") == "Être \U0001f525"
    done = run("config", "show", env=how)
    assert (done.returncode, b"?tre ?" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    "args", [("search", "\udcff", "--base", "\udcff"), ("models", "path", "\udcff"), ("run", "\udcff")]
)
def test_bytes_of_a_command_line_that_are_no_text_are_told_as_such(args: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, args)
    assert (result.exit_code, result.stderr[:7]) == (1, "Error: ")


def test_a_path_that_is_too_long_is_told_in_short() -> None:
    result = CliRunner().invoke(app, ["run", "a" * 5000])
    assert (result.exit_code, result.stderr[:26]) == (1, "Error: File name too long:")
    assert len(result.stderr) < 500


def test_what_nobody_foresaw_is_a_message_and_the_traceback_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("of nothing")

    monkeypatch.setattr(cli, "app", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: ZeroDivisionError: of nothing\n")
    (kept,) = tmp_path.iterdir()
    assert str(kept) in said
    assert "in broken" in kept.read_text()


def test_errors_of_the_system_are_told_with_the_file() -> None:
    with pytest.raises(cli.typer.Exit) as ended, output.reporting_errors():
        Path("/no/such/file").read_text()
    assert ended.value.exit_code == 1


def test_wrong_use_is_exit_code_2_with_the_usage() -> None:
    for args in (["ask", "--hammer"], ["nothing"], ["search"], ["bench", "--pairs", "0"]):
        result = CliRunner().invoke(app, args)
        assert (result.exit_code, "Usage:" in result.stderr) == (2, True)
