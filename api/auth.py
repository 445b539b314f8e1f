"""Who may ask: the key, the names this server answers to, pages of other sites, and how much may be sent.

Three kinds of strangers are kept out. Programs without the key; if there is none, those of other machines. Web pages
in a browser on this machine, which could send requests to 127.0.0.1: they cannot send JSON without asking first, and
nobody answers that. And pages whose host name was made to lead to this machine (DNS rebinding): the name in `Host`
gives them away. Knows no endpoint.
"""

import hashlib
import hmac
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phireside.api.errors import Json, error_answer
from phireside.api.parts import Options

_OPEN = {"/health", "/docs", "/openapi.json"}  # without a key
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
_BODIES = {"POST", "PUT", "PATCH"}
_HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


class Guard:
    """ASGI middleware before everything else.

    Args:
        app: that answers.
        options: the key, the names, the limit.
    """

    def __init__(self, app: ASGIApp, options: Options) -> None:
        self._app, self._options = app, options
        self._key = _digest(options.key) if options.key else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what may not pass; count the bytes of what does."""
        if scope["type"] == "websocket":  # there are none
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._stranger(headers) or self._keyless(scope, headers) or self._body(scope, headers)
        if refused:
            await refused(scope, receive, _with_headers(send, _HEADERS))
        else:
            await self._app(scope, _limited(receive, self._options.max_bytes), _with_headers(send, _HEADERS))

    def _stranger(self, headers: Headers) -> Json | None:
        """A name that is not this server's, or a page of another site."""
        host, hosts = headers.get("host", ""), self._options.hosts
        if hosts is not None and _name(host) not in hosts:
            return error_answer(
                403, f"This server answers to {', '.join(hosts)} only, and not to {host[:80]!r}.", "host_not_allowed"
            )
        origin = headers.get("origin")
        if origin is not None and (not host or origin.partition("://")[2] != host):
            return error_answer(403, "Pages of other sites may not call this server.", "origin_not_allowed")
        return None

    def _keyless(self, scope: Scope, headers: Headers) -> Json | None:
        if not self._key:
            return _elsewhere(scope, headers)
        if scope["path"].removeprefix(scope.get("root_path", "")) in _OPEN:  # it may be mounted in another app
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(_digest(given.strip()), self._key):
            return None
        what = "is not the right one" if given else "is missing"
        message = f"The API key {what}. Send it as `Authorization: Bearer KEY`."
        return error_answer(401, message, "invalid_api_key", headers={"www-authenticate": "Bearer"})

    def _body(self, scope: Scope, headers: Headers) -> Json | None:
        if scope["method"] not in _BODIES:
            return None
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return error_answer(
                415, f"The body is {kind[:40] or 'of no type'}. Send application/json.", "unsupported_media_type"
            )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._options.max_bytes:
            return _too_large(self._options.max_bytes)
        return None


def _digest(key: str) -> bytes:
    """Equally long for all keys, so that the time of a comparison tells nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _elsewhere(scope: Scope, headers: Headers) -> Json | None:
    """Without a key only this machine is answered, however far the server that this app runs in can be reached."""
    address = (scope.get("client") or ("",))[0]
    with suppress(ValueError):  # a socket that is a file, or a test's name
        if not ip_address(address).is_loopback:
            return error_answer(403, f"{address} is another machine, and this server has no key.", "key_needed")
    if any(name in headers for name in _FORWARDED):
        return error_answer(403, "The request came through a proxy, and this server has no key.", "key_needed")
    return None


def _name(host: str) -> str:
    """The name in a `Host` header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def _too_large(most: int) -> Json:
    return error_answer(413, f"The body has more than {most:,} bytes.", "request_too_large")


def _limited(receive: Receive, most: int) -> Receive:
    """The body, as far as the limit, whatever its headers say."""
    taken = 0

    async def take() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise HTTPException(413, f"The body has more than {most:,} bytes")
        return message

    return take


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    own = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *own]}
        await send(message)

    return send_with
