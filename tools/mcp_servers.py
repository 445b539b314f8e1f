"""MCP servers from a JSON file: `mcpServers` as Claude Desktop writes it, or `servers` as VS Code does.

Knows how the file looks; starts and contacts nothing.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from phireside.errors import SettingsError

_VARIABLE = re.compile(r"\$\{(?:env:)?([^}]*)\}")
_EXAMPLE = 'Write {"mcpServers": {"notes": {"command": "uvx", "args": ["mcp-server-notes"]}}}.'


class Server(BaseModel):
    """A server: a program with `command`, which is spoken to through its pipes, or an address with `url`.

    Keys of other programs are ignored. `${NAME}` and `${env:NAME}` stand for environment variables.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(min_length=1, max_length=64)
    command: str | None = None
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: Path
    url: str | None = None
    headers: dict[str, str] = {}
    type: Literal["stdio", "http", "streamable-http", "streamable_http", "sse"] | None = Field(
        None, validation_alias=AliasChoices("type", "transport")
    )
    disabled: bool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.command) == bool(self.url):
            raise ValueError("a server has either a command or a url")
        if self.url and not self.disabled and not self.url.startswith(("http://", "https://", "${")):
            raise ValueError(f"the url {self.url[:80]!r} does not begin with http:// or https://")
        if (self.type == "stdio") == bool(self.url) and self.type:
            raise ValueError(f"its type is {self.type}, which does not fit")
        return self

    @property
    def fingerprint(self) -> str:
        """Of all that says what is started or contacted, as it is written; secrets in variables are not in it."""
        said = self.model_dump(mode="json", exclude={"name", "disabled"})
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    @property
    def shown(self) -> str:
        """What is started or contacted, for a person."""
        if self.url:
            return self.url
        env = [f"{name}={value}" for name, value in self.env.items()]
        return f"{' '.join([*env, str(self.command), *self.args])}  (in {self.cwd})"

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine; it may still send on what it gets."""
        try:
            host = urlsplit(self.url or "").hostname or ""
            return not self.url or host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False

    def filled(self, environment: Mapping[str, str] = os.environ) -> "Server":
        """The server with the variables' values.

        Raises:
            SettingsError: a variable is not set.
        """

        def value(found: re.Match[str]) -> str:
            if found[1] not in environment:
                raise SettingsError(f"The server {self.name} needs {found[0]}, which is not set.", hint="Set it.")
            return environment[found[1]]

        def fill(part: Any) -> Any:
            if isinstance(part, str):
                return _VARIABLE.sub(value, part)
            if isinstance(part, dict):
                return {key: fill(each) for key, each in part.items()}
            return tuple(map(fill, part)) if isinstance(part, tuple) else part

        names = ("command", "args", "env", "url", "headers")
        return self.model_copy(update={name: fill(getattr(self, name)) for name in names})


def read_servers(path: Path) -> list[Server]:
    """The servers of a file that are not disabled. A program starts in its `cwd`, which the file's folder completes.

    Raises:
        SettingsError: the file cannot be read, or a server is not as it should be.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        entries = given.get("mcpServers", given.get("servers"))
        servers = [_server(name, entry, path.resolve().parent) for name, entry in entries.items()]
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.", hint="Name another file.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise SettingsError(
            f"{path}: {error.title}: {where} {first['msg']}.".replace(":  ", ": "), hint=_EXAMPLE
        ) from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is not JSON: {error}.", hint=_EXAMPLE) from error
    except (AttributeError, TypeError) as error:
        raise SettingsError(f"{path} names no servers.", hint=_EXAMPLE) from error
    return [server for server in servers if not server.disabled]


def _server(name: str, entry: dict[str, Any], folder: Path) -> Server:
    return Server.model_validate({**entry, "name": name, "cwd": folder / (entry.get("cwd") or "")})
