"""`phireside serve`: the API for other programs, without the pages."""

import ipaddress
import logging
import signal
import socket
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer

from phireside.cli.options import Model
from phireside.cli.output import reporting_errors, tell
from phireside.errors import SettingsError
from phireside.settings import Settings

_SHORTEST_KEY = 16  # characters, where others than this machine can try
_LAST_ANSWERS_S = 5  # that answers have when the server is told to end
_MAKE_KEY = 'python -c "import secrets; print(secrets.token_urlsafe())"'


@reporting_errors()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; beyond 127.0.0.1 a key is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 = one that is free.")] = 8000,
    model: Model = "",
    key: Annotated[
        str, typer.Option(envvar="PHIRESIDE_API_KEY", help="API key that programs must send. Better by its variable.")
    ] = "",
    max_waiting: Annotated[
        int | None, typer.Option(min=0, help="Requests that may wait before new ones are refused.")
    ] = None,
    tool: Annotated[
        list[str] | None, typer.Option(help="Tool of the model `agent`; may be repeated. Default: all harmless ones.")
    ] = None,
    allow_effects: Annotated[
        bool, typer.Option("--allow-effects", help="Give `agent` tools that do something. Nobody is asked before.")
    ] = False,
) -> None:
    """Serve the API: what speaks to OpenAI's can speak to this one, at http://127.0.0.1:8000/v1."""
    check_reach(host, key)
    settings = Settings(model=model) if model else Settings()
    with listen(host, port) as listener:
        tell(f"Loading {settings.model}…")
        app = _app(settings, host, key, max_waiting, tuple(tool) if tool else None, allow_effects)
        _serve(app, listener, host)


def check_reach(host: str, key: str) -> None:
    """Raises SettingsError if others than this machine could ask without a key that is hard to guess."""
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise SettingsError("The key has characters that a header cannot carry.", hint=f"Make one: {_MAKE_KEY}")
    if is_loopback(host) or len(key) >= _SHORTEST_KEY:
        return
    have = f"the key has {len(key)} characters" if key else "there is no key"
    raise SettingsError(
        f"On {host or 'all addresses'} other machines could ask, and {have}; {_SHORTEST_KEY} are needed.",
        hint=f"Set PHIRESIDE_API_KEY, e.g. to what this prints: {_MAKE_KEY}",
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name other than localhost may mean anything."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _app(
    settings: Settings,
    host: str,
    key: str,
    max_waiting: int | None,
    tools: tuple[str, ...] | None,
    allow_effects: bool,
) -> Any:
    from phireside.api import Options, create_app  # FastAPI
    from phireside.api.parts import LOOPBACK
    from phireside.models import load_chat_model
    from phireside.models.load import is_remote

    names = (*LOOPBACK, *([] if host in LOOPBACK else [host])) if is_loopback(host) else None
    options = Options(key=key, hosts=names, max_waiting=max_waiting, tools=tools, allow_effects=allow_effects)
    chosen = load_chat_model("", settings)
    app = create_app(settings, model=chosen, options=options)
    if not is_remote(settings.model):
        chosen.invoke("Hi", max_tokens=1)  # what is wrong with the model is told now, and the first answer is quick
    return app


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on that address; who connects waits until it is served.

    Raises:
        SettingsError: it cannot be had.
    """
    place = host.strip("[]")
    family = socket.AF_INET6 if ":" in place else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only where the protocol is named; else a head waits 40 ms for its body.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((place, port))
        listener.listen()  # only now is the port its own: with SO_REUSEADDR two may bind it
    except (OSError, UnicodeError) as error:
        listener.close()
        raise SettingsError(
            f"{host}:{port} cannot be listened on: {error}.", hint="Give another --port or --host."
        ) from error
    return listener


def _serve(app: Any, listener: socket.socket, host: str) -> None:
    """Serve until Ctrl-C or a SIGTERM."""
    import uvicorn

    from phireside.agents.assistant import close_bases
    from phireside.models.runtime import close_all

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    place = f"[{host}]" if ":" in host.strip("[]") else host
    url = f"http://{place}:{listener.getsockname()[1]}"
    reach = "this machine only" if is_loopback(host) else "other machines too, with the key"
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, proxy_headers=False, lifespan="off",
        timeout_graceful_shutdown=_LAST_ANSWERS_S,
    )  # fmt: skip
    tell(f"Phireside's API is at {url}/v1 ({reach}); {url}/docs describes it. Ctrl-C ends it.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn, having ended, sends itself the signal once more
    try:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        close_bases()
        close_all()
