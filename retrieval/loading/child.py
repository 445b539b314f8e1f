"""The process in which parsers run: requests on standard input, answers on standard output, see process.py.

Before the first request it gives up what a parser does not need: the network (on Linux it moves into a network of its
own, where there is nothing, if the system lets it), starting programs and writing files. It never imports torch or
Streamlit, and knows nothing of documents.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from phireside.errors import DocumentError, DocumentTooLargeError
from phireside.retrieval.loading.process import BROKEN, IDLE_SECONDS, SAVE_ANEW

_OPEN_FILES = 64
_REFUSED = (
    *("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty.spawn"),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil."),
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # of unshare(2)
_NEARLY = 0.8  # of the memory: what a parser says then (libxml2: "unknown error") is that there was no more
_LINE = 300  # characters of an error that came from a parser


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook (PEP 578): what parsers have no business with is an error. Once set it cannot be taken away."""
    if event.startswith(_REFUSED) or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES):
        raise PermissionError(f"A parser may not use {event}.")


def shut_in() -> None:
    """Give up network, programs and files to write, as far as this system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            unshare = ctypes.CDLL(None).unshare
            _ = unshare(_NEW_NETWORK) and unshare(_NEW_NETWORK | _NEW_USER)  # the second is for who is not root
    sys.addaudithook(refuse)


def bound(seconds: float, memory_bytes: int) -> None:
    """Bound processor time and memory of what comes next, where the system can (Linux; macOS: time only)."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        spent = resource.getrusage(resource.RUSAGE_SELF)
        until = int(spent.ru_utime + spent.ru_stime + seconds) + 1
        for what, most in ((resource.RLIMIT_CPU, until), (resource.RLIMIT_AS, memory_bytes)):
            resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


def memory(field: str) -> int:
    """Bytes that this process holds (VmRSS), or the most address space that it has had (VmPeak); 0 but on Linux."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/status").read_text().split(f"{field}:")[1].split()[0]) * 1024
    return 0


@contextlib.contextmanager
def bored() -> Iterator[None]:
    """End this process if what follows takes more than a minute: nobody needs it."""
    alarm = getattr(signal, "alarm", int)  # not on Windows
    alarm(IDLE_SECONDS)
    yield
    alarm(0)


def answered(request: dict[str, Any], data: bytes) -> bytes:
    """The JSON of a parser's value or error."""
    try:
        module, _, function = request["parser"].partition(":")
        value = getattr(import_module(module), function)(data, **request["options"])
        body = _json(request, {"value": value})
    except DocumentError as error:
        return _error(request, type(error).__name__, error.message, error.hint)
    except Exception as error:  # noqa: BLE001 (parsers raise anything)
        if isinstance(error, MemoryError) or _near(request):
            return _large(request, f"It takes more than {request['memory_bytes'] / 1e6:,.0f} MB of memory to read.")
        what = " ".join(f"{type(error).__name__}: {error}".split())[:_LINE]
        return _error(request, DocumentError.__name__, f"{BROKEN} ({what}).", SAVE_ANEW)
    if len(body) > request["answer_bytes"]:
        return _large(request, f"Its text takes more than {request['answer_bytes'] / 1e6:,.0f} MB.")
    return body


def _near(request: dict[str, Any]) -> bool:
    return bool(memory("VmPeak") > _NEARLY * request["memory_bytes"])


def _large(request: dict[str, Any], message: str) -> bytes:
    kind = DocumentTooLargeError.__name__
    return _error(request, kind, message, "Split it, or save it without what makes it large.")


def _error(request: dict[str, Any], kind: str, message: str, hint: str = "") -> bytes:
    return _json(request, {"error": kind, "message": message, "hint": hint})


def _json(request: dict[str, Any], answer: dict[str, Any]) -> bytes:
    # The peak never falls: whatever is wrong with the next document would be blamed on its size. So it gets another
    # process.
    held = sys.maxsize if _near(request) else memory("VmRSS")
    return json.dumps({**answer, "held_bytes": held}, ensure_ascii=False).encode("utf-8", "replace")


def main() -> None:
    """Answer until nobody asks any more. What parsers print goes nowhere."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which then closes the pipe
    shut_in()
    while True:
        with bored():
            line = requests.readline()
        if not line:
            return
        request = json.loads(line)
        bound(request["seconds"], request["memory_bytes"])
        body = answered(request, requests.read(request["size"]))
        answers.write(b"%d\n" % len(body) + body)
        answers.flush()


if __name__ == "__main__":
    main()
