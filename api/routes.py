"""`routes`: the API inside of another ASGI app, such as the pages': one process serves both on one loaded model.

The app is made with the first request, as the page should not wait for it. Knows Starlette and nothing of Streamlit.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from phireside.settings import Settings

_PATHS = ("/v1/{rest:path}", "/chains", "/chains/{rest:path}", "/health", "/metrics", "/openapi.json")


def routes(
    settings: Settings | Callable[[], Settings], *, key: str = "", names: Sequence[str] = (), **more: Any
) -> list[BaseRoute]:
    """The API's addresses, for Streamlit's `App(routes=…)` or Starlette's.

    Args:
        settings: or what gives them, with the first request.
        key: see `Options`.
        names: by which it may be called, beside those of this machine.
        **more: as for `create_app`, but options.
    """

    def make() -> ASGIApp:
        from phireside.api.app import create_app  # FastAPI
        from phireside.api.parts import LOOPBACK, Options

        given = settings if isinstance(settings, Settings) else settings()
        return create_app(given, options=Options(key=key, hosts=(*LOOPBACK, *names)), **more)

    later = _Later(make)
    return [_ForPrograms(path, later) for path in _PATHS]


class _Later:
    """An ASGI app that is made with the first request."""

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            with self._lock:
                self._app = self._app or self._make()
        await self._app(scope, receive, send)


class _ForPrograms(Route):
    """A route that leaves a browser's request for a page to others: the page of the chains is at /chains, too."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As Starlette's, but not where HTML is wanted."""
        wants = b"".join(value for name, value in scope.get("headers", ()) if name == b"accept")
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and b"text/html" in wants:
            return Match.NONE, {}
        return super().matches(scope)
