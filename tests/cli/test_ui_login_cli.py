"""`phireside ui` with a login: beyond this machine only with one, and what is wrong is said before it starts."""

from typing import Any

import pytest
from typer.testing import CliRunner, Result

from phireside.cli import app, ui

SECRETS = f"""
[auth]
redirect_uri = "https://chat.example.org/oauth2callback"
cookie_secret = "{"k" * 40}"
client_id = "phireside"
client_secret = "not-to-be-seen"
server_metadata_url = "https://id.example.org/.well-known/openid-configuration"
"""


class Started:
    """What would have been started, in place of Streamlit."""

    command: list[str] = []  # noqa: RUF012 (of the test)

    def __init__(self, command: list[str], **_: Any) -> None:
        Started.command = command

    def wait(self) -> int:
        return 0


@pytest.fixture
def started(tmp_path, monkeypatch, loopback) -> type[Started]:
    for name in ("PHIRESIDE_API_KEY", "PHIRESIDE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ui.subprocess, "Popen", Started)
    Started.command = []
    return Started


@pytest.fixture
def login(tmp_path, monkeypatch, started) -> type[Started]:
    (tmp_path / "secrets.toml").write_text(SECRETS)
    monkeypatch.setenv("PHIRESIDE_LOGIN__SECRETS", str(tmp_path / "secrets.toml"))
    monkeypatch.setenv("PHIRESIDE_PORT", "38517")
    return started


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["ui", *args])


def option(command: list[str], name: str) -> list[str]:
    return [command[i + 1] for i, part in enumerate(command) if part == f"--{name}"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])  # noqa: S104
def test_without_a_login_it_listens_nowhere_else(started, host):
    result = run("--host", host)
    assert result.exit_code != 0
    assert started.command == []
    assert "this machine only (127.0.0.1)" in result.stderr
    assert "login.secrets" in result.stderr


def test_with_a_login_it_may_listen_elsewhere_and_answers_to_its_name(login, tmp_path):
    result = run("--host", "0.0.0.0")  # noqa: S104
    assert result.exit_code == 0, result.stderr
    assert option(login.command, "server.address") == ["0.0.0.0"]  # noqa: S104
    assert option(login.command, "server.port") == ["38517"]
    assert option(login.command, "secrets.files") == [str(tmp_path / "secrets.toml")]
    assert set(option(login.command, "server.allowedHosts")) == {"127.0.0.1", "localhost", "chat.example.org"}
    assert option(login.command, "server.headless") == ["true"]
    assert "https://chat.example.org (after a login)" in result.stderr
    assert "not-to-be-seen" not in result.stderr + " ".join(login.command)


def test_with_a_login_it_still_listens_on_this_machine_unless_told(login):
    assert run().exit_code == 0
    assert option(login.command, "server.address") == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PHIRESIDE_LOGIN__SECRETS", "missing.toml", "missing.toml"),
        ("PHIRESIDE_LOGIN__PROVIDER", "google", "auth.google"),
        ("PHIRESIDE_DATABASE_URL", "postgresql://u:not-to-be-seen@h/d", "database_url is set"),
        ("PHIRESIDE_API_KEY", "short", "5 characters"),
    ],
)
def test_what_is_wrong_is_said_before_it_starts(login, monkeypatch, variable, value, said):
    monkeypatch.setenv(variable, value)
    result = run("--host", "0.0.0.0")  # noqa: S104
    assert result.exit_code != 0
    assert login.command == []
    assert said in result.stderr
    assert "not-to-be-seen" not in result.stderr
