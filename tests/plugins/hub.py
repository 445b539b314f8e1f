"""A Hugging Face hub on a loopback address, with the faults that a real one and the net between can have.

It answers as the hub does: HEAD on the file's address gives size and etag with a redirect to the storage; GET follows
it there.
"""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Hub:
    """What the hub serves, and how badly; `requests` is what it was asked: (method, path, Range)."""

    body: bytes = b""
    announced: dict[str, str] = field(default_factory=dict)  # headers that replace the right ones; "" = left out
    status: int = 0  # answer to everything; 0 = the right one
    storage_status: list[int] = field(default_factory=list)  # answers of the storage, one after another
    breaks: list[int] = field(default_factory=list)  # bytes after which a transfer breaks off, one after another
    stalls_after: int = 0  # bytes after which a transfer hangs until the hub ends; 0 = never
    ignores_range: bool = False
    rename_to: str = ""  # the repository's new name
    rename_base: str = ""  # what stands before the new path in that redirect
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    authorizations: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()

    def ranges(self) -> list[str | None]:
        """The Range of each request to the storage."""
        return [asked for _, path, asked in self.requests if path == "/storage"]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.hub
        hub.requests.append((self.command, self.path, self.headers.get("Range")))
        hub.authorizations.append((self.path, self.headers.get("Authorization")))
        if hub.status:
            self._send(hub.status, {})
        elif self.path == "/storage":
            self._storage()
        elif hub.rename_to and hub.rename_to not in self.path:
            self._send(307, {"Location": hub.rename_base + self.path.replace("/owner/repo", hub.rename_to)})
        else:
            headers = {
                "X-Linked-Etag": f'"{hub.sha256}"',
                "X-Linked-Size": str(len(hub.body)),
                "X-Repo-Commit": "0" * 40,
                "Location": f"{hub.url}/storage",
            } | hub.announced
            self._send(302, {name: value for name, value in headers.items() if value})

    def _storage(self) -> None:
        hub = self.hub
        if hub.storage_status:
            self._send(hub.storage_status.pop(0), {})
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if hub.ignores_range or not start:
            start = 0
            headers = {}
        else:
            headers = {"Content-Range": f"bytes {start}-{len(hub.body) - 1}/{len(hub.body)}"}
        rest = hub.body[start:]
        self._send(206 if headers else 200, headers | {"Content-Length": str(len(rest))}, close=False)
        if hub.stalls_after:
            self.wfile.write(rest[: hub.stalls_after])
            hub.ended.wait()
        else:
            self.wfile.write(rest[: hub.breaks.pop(0)] if hub.breaks else rest)
        self.close_connection = True

    def _send(self, status: int, headers: dict[str, str], close: bool = True) -> None:
        self.send_response(status)
        for name, value in (headers | ({"Content-Length": "0"} if close else {})).items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def hub(loopback: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, at `hub.url`; `HF_HUB_OFFLINE` is off and no token is sent, for this test."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    state.ended.set()
    server.shutdown()
    server.server_close()
    thread.join()
