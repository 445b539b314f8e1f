"""Streamlit's secrets file with the login's table [auth]: checked before the server starts, for the flags it needs.

Messages name keys of the file and never what is in them. Does not import Streamlit, which checks once more.
"""

import tomllib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from phireside.errors import SettingsError
from phireside.settings import LoginSettings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CALLBACK = "/oauth2callback"  # Streamlit's own
SHORTEST_SECRET = 32  # characters of what signs the cookies: who can guess it is anybody
_MAKE = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
_HINT = "docs/login.md has an example."
_PROVIDER = ("client_id", "client_secret", "server_metadata_url")


@dataclass(frozen=True)
class Reach:
    """Where people find the pages, as the provider knows it.

    Attributes:
        origin: e.g. https://chat.example.org.
        host: its name.
        file: the secrets file.
    """

    origin: str
    host: str
    file: Path

    @property
    def is_local(self) -> bool:
        """Whether that is this machine."""
        return self.host in LOOPBACK

    def flags(self, address: str) -> dict[str, str | int | float | bool | list[str]]:
        """Options for `streamlit_flags`.

        Args:
            address: to listen on.
        """
        return {
            "server__address": address.strip("[]"),
            "server__allowedHosts": [*LOOPBACK[:2], self.host],
            # The name in pages' Origin; without it Streamlit asks a server of others for this machine's address.
            "browser__serverAddress": self.host,
            "secrets__files": [str(self.file)],
        }


def reach(login: LoginSettings, port: int = 0) -> Reach:
    """Check the file, and read where people find the pages.

    Args:
        login: `secrets` is set.
        port: that the server will listen on; 0 = not known yet.

    Raises:
        SettingsError: the file cannot be read, or something in it is missing or unsafe; or Authlib is not installed.
    """
    if find_spec("authlib") is None:
        raise SettingsError("A login needs Authlib, which is not installed.", hint="pip install 'phireside[login]'")
    file = Path(login.secrets or "")
    auth = _table(file)
    _check_provider(file, auth, login.provider)
    if len(_text(auth, "cookie_secret")) < SHORTEST_SECRET:
        raise SettingsError(
            f"cookie_secret in {file} has fewer than {SHORTEST_SECRET} characters: who guesses it can be anybody.",
            hint=f"Take what this prints: {_MAKE}",
        )
    return _reach(file, _text(auth, "redirect_uri").replace("{port}", str(port)), port)


def _table(file: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}, login.secrets, cannot be read: {error.strerror}.", hint=_HINT) from error
    except ValueError:  # its message may quote the file
        raise SettingsError(f"{file}, login.secrets, is not TOML.", hint=_HINT) from None
    auth = found.get("auth")
    if not isinstance(auth, dict):
        raise SettingsError(f"{file}, login.secrets, has no table [auth].", hint=_HINT)
    return auth


def _check_provider(file: Path, auth: dict[str, Any], name: str) -> None:
    table = auth if name == "default" and "default" not in auth else auth.get(name)
    where = "[auth]" if table is auth else f"[auth.{name}]"
    if "_" in name:
        raise SettingsError(f"login.provider {name!r:.60} has an underscore.", hint="Streamlit takes none: rename it.")
    if not isinstance(table, dict):
        raise SettingsError(f"{file} has no table {where}, which login.provider names.", hint=_HINT)
    if missing := [key for key in _PROVIDER if not _text(table, key)]:
        raise SettingsError(f"{where} in {file} lacks {', '.join(missing)}.", hint=_HINT)
    metadata = urlsplit(_text(table, "server_metadata_url"))
    if metadata.scheme != "https" and metadata.hostname not in LOOPBACK:
        raise SettingsError(f"server_metadata_url in {file} is not https://….", hint="Nobody could trust its answer.")


def _reach(file: Path, redirect: str, port: int) -> Reach:
    try:
        parts = urlsplit(redirect)
        own_port = parts.port
    except ValueError as error:
        raise SettingsError(f"redirect_uri in {file} is no address: {error}.", hint=_HINT) from error
    host = parts.hostname or ""
    if not host or parts.scheme not in ("http", "https") or parts.path != CALLBACK:
        raise SettingsError(
            f"redirect_uri in {file} is not of the form https://NAME{CALLBACK}.",
            hint="It is where people find Phireside, with that path, and the provider has to know it.",
        )
    found = Reach(f"{parts.scheme}://{parts.netloc}", host, file)
    if parts.scheme == "http" and not found.is_local:
        raise SettingsError(
            f"redirect_uri in {file} is http:// and not on this machine: others could read along and log in as you.",
            hint="Let a reverse proxy serve https://, and write that.",
        )
    if parts.scheme == "http" and port and own_port not in (None, port):
        raise SettingsError(
            f"redirect_uri in {file} names port {own_port}, and Phireside listens on {port}.",
            hint="Write {port} there in place of the number, or start it with that --port.",
        )
    return found


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key)
    return value if isinstance(value, str) else ""
