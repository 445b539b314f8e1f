"""What a person approved of MCP servers: that one is started or contacted, and each of its tools as it was then.

A server may describe a tool harmlessly until it is approved, and otherwise later ("rug pull"), or hide a text for the
model in characters that nobody sees. So a tool is known by a hash of all that a model reads of it. Asks through a
function; knows nothing of how a server is reached.
"""

import hashlib
import json
import re
import tempfile
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from phireside.errors import SettingsError, ToolError
from phireside.tools.mcp_servers import Server

_LISTED = 8  # kinds of hidden characters
_WRITING = threading.Lock()
# Fillers and selectors that fonts leave empty; U+FE0E and U+FE0F make a sign text or a picture, and stay.
_EMPTY = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\ufe00-\ufe0d\U000e0100-\U000e01ef]")
_UNSEEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}  # Unicode's general categories


def is_hidden(character: str) -> bool:
    """Whether a person does not see a character that a model reads."""
    if character in "\n\t":
        return False
    return unicodedata.category(character) in _UNSEEN or bool(_EMPTY.match(character))


def visible(text: str) -> str:
    """A text whose hidden characters are written out, as `<U+200B>`."""
    return "".join(f"<U+{ord(each):04X}>" if is_hidden(each) else each for each in text)


@dataclass(frozen=True)
class Offer:
    """What a person is asked to approve.

    Args:
        server: its name in the file.
        tool: a tool of it; empty = the server itself, which has not been started yet.
        text: the command or address; of a tool what a model reads of it. Hidden characters are written out.
        hidden: the hidden characters in it, and how many of each.
        changed: whether an earlier form of the tool was approved.
        fingerprint: of exactly this.
    """

    server: str
    tool: str
    text: str
    hidden: Mapping[str, int]
    changed: bool
    fingerprint: str

    @property
    def why(self) -> str:
        """Why it is asked, in words."""
        if not self.tool:
            return f"The server {self.server} has not been approved: {self.text}"
        reason = "has changed since it was approved" if self.changed else "has not been approved"
        some = ", ".join(f"{name} ({count} times)" for name, count in list(self.hidden.items())[:_LISTED])
        return f"The tool {visible(self.tool)} of {self.server} {reason}" + (f"; hidden in it: {some}" if some else "")


Approve = Callable[[Offer], bool]


@dataclass(frozen=True)
class Approved:
    """A server that a person approved, by its fingerprint; the name that it had, and the names of its tools."""

    fingerprint: str
    name: str
    tools: tuple[str, ...]


def fingerprint(tool: BaseTool) -> str:
    """Of all that a model reads of a tool, and of what the server says of its effects."""
    said = json.dumps([tool.name, tool.description, _details(tool)], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _details(tool: BaseTool) -> dict[str, Any]:
    """Its arguments, and the server's annotations."""
    marks = {name: value for name, value in (tool.metadata or {}).items() if name != "_meta"}
    return {"arguments": tool.args_schema, "annotations": marks}


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value.replace("\r\n", "\n")
    elif isinstance(value, dict | list | tuple):
        for each in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _texts(each)


def _offer(server: Server, tool: BaseTool | None, wanted: str, changed: bool) -> Offer:
    if tool is None:
        hidden = Counter(f"U+{ord(each):04X}" for each in server.shown if is_hidden(each))
        return Offer(server.name, "", visible(server.shown), hidden, changed, wanted)
    texts = _texts([tool.name, tool.description, _details(tool)])
    hidden = Counter(f"U+{ord(each):04X}" for text in texts for each in text if is_hidden(each))
    said = f"{tool.name}\n{tool.description}\n{json.dumps(_details(tool), indent=1, ensure_ascii=False)}"
    return Offer(server.name, tool.name, visible(said), hidden, changed, wanted)


class Approvals:
    """What was approved, in a file that is a person's own: whoever can write it can approve.

    Args:
        path: the file; None = nothing is kept.
        approve: asks a person; None = nobody is there to be asked.

    Raises:
        SettingsError: the file is damaged.
    """

    def __init__(self, path: Path | None, approve: Approve | None) -> None:
        self._path, self._approve = path, approve
        self._kept = _kept(path)

    def admits(self, server: Server, tool: BaseTool | None = None) -> bool:
        """Whether a server, or a tool of it, may be used.

        Raises:
            ToolError: it was not approved as it is, and nobody can be asked.
            SettingsError: the approval cannot be kept.
        """
        known = self._kept.get(server.fingerprint)
        before = known["tools"].get(tool.name) if known and tool else None
        wanted = fingerprint(tool) if tool else server.fingerprint
        if before == wanted or (known and not tool):
            return True
        offer = _offer(server, tool, wanted, before is not None)
        if self._approve is None:
            raise ToolError(f"{offer.why}.", hint="Run `phireside approve FILE`; in a program see docs/tools.md, MCP.")
        if not self._approve(offer):
            return False
        with self._changed() as kept:
            if not tool:
                kept.setdefault(server.fingerprint, {"name": server.name, "tools": {}})
            elif server.fingerprint in kept:  # else it was revoked meanwhile
                kept[server.fingerprint]["tools"][tool.name] = wanted
            return server.fingerprint in kept

    def servers(self) -> list[Approved]:
        """What was approved so far, by name."""
        found = [
            Approved(key, str(each.get("name", "")), tuple(sorted(each["tools"]))) for key, each in self._kept.items()
        ]
        return sorted(found, key=lambda each: (each.name, each.fingerprint))

    def revoke(self, server: str, tool: str = "") -> None:
        """Take an approval back; one that is not there is none.

        Args:
            server: its fingerprint.
            tool: of it; empty = the server with all of its tools.

        Raises:
            SettingsError: that cannot be kept.
        """
        with self._changed() as kept:
            if not tool:
                kept.pop(server, None)
            elif server in kept:
                kept[server]["tools"].pop(tool, None)

    @contextmanager
    def _changed(self) -> Iterator[dict[str, Any]]:
        """What is kept now, which others may have changed while a person thought; written when it was changed here."""
        with _WRITING:
            if self._path:
                self._kept = _kept(self._path)
            yield self._kept
            self._save()

    def _save(self) -> None:
        """Write the file anew: the old one stays until the new one is whole."""
        if self._path is None:
            return
        try:
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self._path.parent, delete=False) as file:
                json.dump({"servers": self._kept}, file, indent=1)
            Path(file.name).replace(self._path)
        except OSError as error:
            raise SettingsError(
                f"Approvals cannot be kept in {self._path}: {error.strerror}.", hint="Name another file."
            ) from error


def _kept(path: Path | None) -> dict[str, Any]:
    """By fingerprint of the server: its name, and the fingerprints of its tools by name."""
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["servers"] if path else {}
        if not all(isinstance(each["tools"], dict) for each in kept.values()):
            raise ValueError("tools")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.", hint="Name another file.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(f"{path} is damaged.", hint="Delete it, and approve the tools again.") from error
    return kept
