"""What `streamlit run` starts: the pages and the API, served with headers that let pages load nothing from elsewhere.

The text of a model is data. Even if some of it came to be read as markup, the browser would not fetch from another
host. The pages themselves are in `main.py`.
"""

import asyncio
import base64
import hashlib
import html
import os
import re
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import streamlit
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.starlette import App

from phireside.api.routes import routes
from phireside.errors import SettingsError
from phireside.settings import Settings
from phireside.ui.login_file import LOOPBACK, reach

STREAMLITS = (Path(streamlit.__file__).with_name("static") / "index.html").read_text("utf-8")
# On a phone the sidebar lies over the page: what is chosen in it closes it. Streamlit sees to that for links only, and
# only in the browsers that it takes for a phone's.
CLOSING = """
addEventListener("click", event => {
  const chosen = event.target.closest?.(
    '[data-testid="stSidebar"] :is([data-testid="stSidebarNavLink"], .st-key-new button, [class*="st-key-open"] button)'
  )
  if (chosen && innerWidth < 768) setTimeout(() => document.querySelector(
    '[data-testid="stSidebar"][data-collapsed="false"] [data-testid="stSidebarCollapseButton"] button'
  )?.click())
}, true)
"""
# Told where the server is: opened at /memory, it would look for it below that address first, and wait after that.
PAGE = STREAMLITS.replace(
    "<script>", "<script>window.__streamlit = { BACKEND_BASE_URL: location.origin }\n" + CLOSING, 1
)
PAGES = ("", "knowledge", "memory", "chains", "scenarios", "evaluate", "models", "settings")


STRANGE = """<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>Phireside</title>
<style>:root {{ color-scheme: light dark }}
body {{ font: 1.1rem/1.6 system-ui; max-width: 40rem; margin: 3rem auto; padding: 1rem }}</style>
<h1>Phireside does not answer to this name</h1>
<p>It answers to these only: {names}. Otherwise another site could lead its own name to this machine, and read your
conversations.</p><p>On the machine where it runs, open <code>http://127.0.0.1:{port}</code>. To use it from another,
or through a proxy, give it a login under that name: docs/login.md says how.</p></html>"""


async def page(request: Request) -> HTMLResponse:
    """The page that draws all pages; under a name for which Streamlit opens no WebSocket, one that says so."""
    names = streamlit.get_option("server.allowedHosts")
    if names and not any(fnmatchcase(request.url.hostname or "", name) for name in names):
        known = html.escape(", ".join(names))
        return HTMLResponse(STRANGE.format(names=known, port=streamlit.get_option("server.port")), 403)
    return HTMLResponse(PAGE, headers={"cache-control": "no-cache"})


def _own_scripts() -> str:
    """The hashes of the scripts inside the page, as the policy wants them; no other inline script runs."""
    scripts = re.findall(r"<script>(.*?)</script>", PAGE + STREAMLITS, re.DOTALL)  # Streamlit answers other addresses
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    return " ".join(f"'sha256-{value}'" for value in hashes)


POLICY = (
    "default-src 'self'; "
    f"script-src 'self' 'wasm-unsafe-eval' {_own_scripts()}; "
    "style-src 'self' 'unsafe-inline'; "  # Streamlit's emotion writes <style> elements
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class SafeHeaders:
    """ASGI middleware that adds `HEADERS` to every HTTP response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and the headers back with the answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class OwnOrigin:
    """ASGI middleware that turns away WebSockets which pages of other sites open.

    Streamlit does so, too, but asks a server of others for this machine's address before.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the handshake on if a page of ours begins it, or a program, which names no page."""
        if scope["type"] == "websocket" and not _is_own(Headers(scope=scope)):
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._app(scope, receive, send)


def _is_own(headers: Headers) -> bool:
    """Whether the page has the address that is asked, or the login's name: some proxies do not pass the address on.

    Another port of this machine is another program.
    """
    origin = headers.get("origin")
    try:
        page = urlsplit(origin or "")
        names = set(streamlit.get_option("server.allowedHosts") or ()) - set(LOOPBACK)
        return origin is None or page.netloc == headers.get("host") or page.hostname in names
    except ValueError:  # no address
        return False


_SHORTEST_KEY = 16  # characters, as for `phireside serve` where others than this machine can try


@asynccontextmanager
async def lifespan(_app: App) -> AsyncIterator[None]:
    """Import the chat page while the browser loads Streamlit's; at the end, close the store and the models."""
    threading.Thread(target=import_module, args=("phireside.ui.chat_page",), name="importing", daemon=True).start()
    yield
    await asyncio.to_thread(_close)


def _close() -> None:
    from phireside.ui.services import close_services  # heavy: LangChain, SQLAlchemy

    close_services()


def api_routes(key: str) -> list[BaseRoute]:
    """The API beside the pages. Where there is a login it needs a long key, as it serves the common data to anybody.

    Args:
        key: that programs must send; empty = none.
    """
    try:
        settings = Settings()
        if settings.login.secrets is None:
            return routes(settings, key=key)
        is_hard = len(key) >= _SHORTEST_KEY
        return routes(settings, key=key, names=(reach(settings.login).host,)) if is_hard else []
    except SettingsError:
        return []  # the page says it


app = App(
    Path(__file__).with_name("main.py"),
    lifespan=lifespan,
    middleware=[Middleware(SafeHeaders), Middleware(OwnOrigin)],
    routes=[
        *api_routes(os.environ.get("PHIRESIDE_API_KEY", "")),
        *(Route(f"/{name}", page) for name in PAGES),
    ],
)
