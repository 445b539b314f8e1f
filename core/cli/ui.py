"""`phireside ui`: starts the Streamlit app on this machine only."""

import os
import signal
import socket
import subprocess
import sys
from typing import Annotated

import typer

from phireside.cli.output import reporting_errors, tell
from phireside.errors import SettingsError
from phireside.settings import Settings

PORTS_TRIED = 20


@reporting_errors()
def ui(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; default: the settings', or the next that is free.")
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Open the chat in a browser. It listens on this machine only (127.0.0.1)."""
    from phireside.ui.options import SCRIPT, streamlit_flags

    settings = Settings()
    chosen = port or _free_port(settings.port)
    if port and not _is_free(port):
        raise SettingsError(f"Port {port} is in use.", hint="Give another --port, or none to take the next free one.")
    tell(f"Phireside is at http://127.0.0.1:{chosen} (this machine only). Ctrl-C ends it.")
    flags = streamlit_flags(server__port=chosen, server__headless=not (browser and _has_screen()))
    # -P: the folders of a checkout must not be imported in place of other packages of those names.
    process = subprocess.Popen([sys.executable, "-P", "-m", "streamlit", "run", str(SCRIPT), *flags])
    raise typer.Exit(_wait(process))


def _wait(process: "subprocess.Popen[bytes]") -> int:
    """The exit code: 0 on Ctrl-C or a SIGTERM, once the app has saved what was being written."""
    asked: list[int] = []

    def end(number: int, _frame: object) -> None:
        asked.append(number)
        process.terminate()  # it may have got the Ctrl-C too; a second signal does no harm

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if asked else code


def _free_port(first: int) -> int:
    """The first free port from `first` on."""
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        if _is_free(port):
            return port
    raise SettingsError(
        f"Ports {first} to {first + PORTS_TRIED - 1} are all in use.", hint="Choose another with --port."
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _has_screen() -> bool:
    """Whether a browser can be shown: always on Windows and macOS, elsewhere with a display."""
    return sys.platform in {"win32", "darwin"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
