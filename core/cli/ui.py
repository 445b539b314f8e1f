"""`phireside ui`: starts the Streamlit app, on this machine only unless people have to log in."""

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from phireside.cli.output import examples, reporting_errors, tell
from phireside.cli.serve import check_reach, listen
from phireside.errors import SettingsError
from phireside.settings import Settings

if TYPE_CHECKING:
    from phireside.ui.login_file import Reach

LOCAL = "127.0.0.1"
PORTS_TRIED = 20
EXAMPLES = examples("phireside ui", "phireside ui --port 9000 --no-browser", "phireside ui --host 0.0.0.0")


@reporting_errors()
def ui(
    port: Annotated[
        int,
        typer.Option(
            min=0,
            max=65535,
            show_default=False,
            help="Port. Default: the settings', or without a login the next free one.",
        ),
    ] = 0,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond 127.0.0.1 a login is needed.")] = LOCAL,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
) -> None:
    """Open the chat in a browser. Without a login it listens on this machine only (127.0.0.1)."""
    from phireside.ui.options import SCRIPT, streamlit_flags

    settings = Settings()
    if settings.login.secrets is None:
        chosen = _local_port(settings, port, host)
        place, who, more = f"http://127.0.0.1:{chosen}", "this machine only", {}
    else:
        chosen = port or settings.port  # the provider knows it: another one would not do
        found = _reach(settings, host, chosen)
        place, who, more = found.origin, "after a login", found.flags(host)
        browser = browser and found.is_local
    tell(f"Phireside is at {place} ({who}). Ctrl-C ends it.")
    flags = streamlit_flags(server__port=chosen, server__headless=not (browser and _has_screen()), **more)
    # -P: the folders of a checkout must not be imported in place of other packages of those names.
    process = subprocess.Popen([sys.executable, "-P", "-m", "streamlit", "run", str(SCRIPT), *flags])
    raise typer.Exit(_wait(process))


def _local_port(settings: Settings, port: int, host: str) -> int:
    """The port on 127.0.0.1: the one that was asked for, or the first that is free."""
    if host != LOCAL:
        raise SettingsError(
            f"Without a login the pages are for this machine only ({LOCAL}), and not for {host:.80}.",
            hint="Set login.secrets, as docs/login.md says, or leave --host out.",
        )
    if port and not _is_free(port):
        raise SettingsError(f"Port {port} is in use.", hint="Give another --port, or none to take the next free one.")
    return port or _free_port(settings.port)


def _reach(settings: Settings, host: str, port: int) -> "Reach":
    """Where people find the pages, once everything that a login needs was looked at."""
    from phireside.ui.login_file import reach

    settings.for_person("anybody", "at all")  # whether there can be such settings
    found = reach(settings.login, port)
    if key := os.environ.get("PHIRESIDE_API_KEY", ""):
        check_reach(host, key)
    listen(host, port).close()
    return found


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
