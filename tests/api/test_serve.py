"""`phireside serve`: whom it lets in, what it says when it cannot, and that it ends in order."""

import signal
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import typer
from serving import serving
from typer.testing import CliRunner, Result

from phireside.cli import serve as command
from phireside.errors import SettingsError

LONG = 90  # seconds
KEY = "0123456789abcdef"


@pytest.mark.parametrize(
    ("host", "key"),
    [("127.0.0.1", ""), ("::1", ""), ("[::1]", ""), ("localhost", "short"), ("127.8.8.8", ""), ("0.0.0.0", KEY)],  # noqa: S104
)
def test_this_machine_needs_no_key_and_others_a_long_one(host: str, key: str) -> None:
    command.check_reach(host, key)


@pytest.mark.parametrize(
    ("host", "key"),
    [("0.0.0.0", ""), ("", ""), ("::", KEY[:-1]), ("192.168.1.2", ""), ("box.example", ""), ("127.0.0.1", "a\nb")],  # noqa: S104
)
def test_else_it_does_not_start(host: str, key: str) -> None:
    with pytest.raises(SettingsError):
        command.check_reach(host, key)


def test_answers_are_sent_at_once(loopback: None) -> None:
    """asyncio sets TCP_NODELAY on sockets of a named protocol only."""
    with command.listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_port_is_its_own_from_the_start(loopback: None) -> None:
    """SO_REUSEADDR lets two servers bind one port as long as neither listens; the second would load its model first."""
    with command.listen("127.0.0.1", 0) as first, pytest.raises(SettingsError, match="cannot be listened on"):
        command.listen("127.0.0.1", first.getsockname()[1])


def run(*args: str) -> Result:
    app = typer.Typer()
    app.command()(command.serve)
    return CliRunner().invoke(app, args)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loopback: None) -> list[Any]:
    """What would have been served, in place of serving it."""
    apps: list[Any] = []
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(command, "_serve", lambda app, listener, host: (apps.append(app), listener.close()))
    return apps


def test_options_arrive_and_a_model_on_a_server_is_not_asked_yet(
    served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHIRESIDE_API_KEY", KEY)
    monkeypatch.setenv("PHIRESIDE_OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    result = run("--port", "0", "--model", "openai:big", "--max-waiting", "3", "--tool", "clock", "--allow-effects")
    assert result.exit_code == 0, result.output
    options = served[0].state.parts.options
    assert (options.key, options.max_waiting, options.tools, options.allow_effects) == (KEY, 3, ("clock",), True)
    assert set(options.hosts) == {"127.0.0.1", "localhost", "::1"}


@pytest.mark.parametrize("args", [["--model", "nothing-such"], ["--model", "openai:x", "--tool", "hammer"]])
def test_what_cannot_be_served_is_said_before(served: list[Any], args: list[str]) -> None:
    result = run("--port", "0", *args)
    assert result.exit_code == 1
    assert result.stderr.count("Error:") == 1
    assert served == []


def test_a_port_that_is_taken_is_said(served: list[Any]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        result = run("--port", str(listener.getsockname()[1]))
    assert result.exit_code == 1
    assert "--port" in result.stderr


@pytest.mark.real
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_it_serves_and_ends_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with serving("starter", tmp_path) as (address, process):
        with urllib.request.urlopen(f"{address}/health", timeout=LONG) as response:  # noqa: S310
            assert b'"status":"ok"' in response.read()
        process.send_signal(number)
        assert process.wait(LONG) == 0
        assert process.stderr
        assert "Traceback" not in process.stderr.read()
