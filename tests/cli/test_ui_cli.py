"""`phireside ui`: it listens on this machine only, finds a free port, and ends in order."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from phireside.cli import app, ui

LONG = 90  # seconds


class Started:
    """What would have been started, in place of Streamlit."""

    def __init__(self, command: list[str], **_: Any) -> None:
        Started.command = command
        self.interrupted = 0

    def wait(self) -> int:
        return 3


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loopback: None) -> type[Started]:
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ui.subprocess, "Popen", Started)
    Started.command = []
    return Started


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["ui", *args])


def option(command: list[str], name: str) -> list[str]:
    return [command[i + 1] for i, part in enumerate(command) if part == f"--{name}"]


@pytest.fixture
def taken(loopback: None) -> Iterator[int]:
    """A port of 127.0.0.1 that somebody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_it_listens_on_this_machine_only_and_sends_no_statistics(started: type[Started]) -> None:
    result = run()
    command = started.command
    assert option(command, "server.address") == ["127.0.0.1"]
    assert set(option(command, "server.allowedHosts")) == {"127.0.0.1", "localhost"}
    assert option(command, "browser.gatherUsageStats") == ["false"]
    assert "127.0.0.1" in result.stderr
    assert result.exit_code == 3  # Streamlit's own


def test_the_folders_of_a_checkout_do_not_shadow_packages(started: type[Started]) -> None:
    run()
    assert started.command[:4] == [sys.executable, "-P", "-m", "streamlit"]
    assert Path(started.command[5]).is_file()


def test_the_settings_port_is_taken_if_it_is_free_and_the_next_one_if_not(
    started: type[Started], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHIRESIDE_PORT", str(taken))
    result = run()
    [port] = option(started.command, "server.port")
    assert taken < int(port) < taken + ui.PORTS_TRIED
    assert f"http://127.0.0.1:{port}" in result.stderr


def test_a_port_that_was_asked_for_and_is_in_use_is_an_error(started: type[Started], taken: int) -> None:
    result = run("--port", str(taken))
    assert result.exit_code == 1
    assert f"Port {taken} is in use" in result.stderr
    assert started.command == []


def test_no_free_port_at_all_is_an_error(started: type[Started], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "_is_free", lambda port: False)
    result = run()
    assert result.exit_code == 1
    assert "are all in use" in result.stderr
    assert started.command == []


@pytest.mark.parametrize("port", ["-1", "65536", "99999999", "x"])
def test_an_impossible_port_is_an_error_of_use(started: type[Started], port: str) -> None:
    result = run("--port", port)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert started.command == []


@pytest.mark.parametrize(
    ("display", "flag", "headless"), [("", [], "true"), (":0", [], "false"), (":0", ["--no-browser"], "true")]
)
def test_a_browser_is_opened_only_where_there_is_a_screen_and_it_is_wanted(
    started: type[Started], monkeypatch: pytest.MonkeyPatch, display: str, flag: list[str], headless: str
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    run(*flag)
    assert option(started.command, "server.headless")[-1] == headless


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_the_command_ends_the_app_and_waits_until_it_has_saved(
    started: type[Started], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    ended: list[str] = []

    def wait(self: Started) -> int:
        signal.raise_signal(number)
        signal.raise_signal(number)
        ended.append("saved")
        return 1  # as Streamlit does

    monkeypatch.setattr(Started, "wait", wait)
    monkeypatch.setattr(Started, "terminate", lambda self: ended.append("asked"), raising=False)
    before = signal.getsignal(number)
    assert run().exit_code == 0
    assert ended == ["asked", "asked", "saved"]
    assert signal.getsignal(number) is before


@pytest.mark.real
def test_the_page_comes_up_answers_on_loopback_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [Path(sys.executable).with_name("phireside"), "ui", "--no-browser"],
        env={**os.environ, "PHIRESIDE_DATA_DIR": str(tmp_path / "data")},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr
        address = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
        assert address
        assert until_answered(f"{address[0]}/_stcore/health") == "ok"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        assert process.wait(LONG) == 0
        assert "Traceback" not in process.stderr.read()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()
        process.stderr.close()


def until_answered(url: str) -> str:
    limit = time.monotonic() + LONG
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 (loopback)
                return str(response.read().decode())
        except OSError:
            assert time.monotonic() < limit
            time.sleep(0.1)
