"""What `streamlit run` starts: the chat, served with headers that let its pages load nothing from anywhere else.

The text of a model is data. Even if some of it came to be read as markup, the browser would not fetch from another
host. The pages themselves are in `main.py`.
"""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.starlette import App

from phireside.ui.services import close_services


def _own_scripts() -> str:
    """The hashes of the scripts inside Streamlit's page, as the policy wants them; no other inline script runs."""
    page = Path(streamlit.__file__).with_name("static") / "index.html"
    scripts = re.findall(r"<script>(.*?)</script>", page.read_text("utf-8"), re.DOTALL)
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


@asynccontextmanager
async def lifespan(_app: App) -> AsyncIterator[None]:
    """Close the store and the models when the server ends."""
    yield
    await asyncio.to_thread(close_services)


app = App(Path(__file__).with_name("main.py"), lifespan=lifespan, middleware=[Middleware(SafeHeaders)])
