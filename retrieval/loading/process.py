"""Run a parser in a process of its own, with limits of memory and seconds.

Parsers of documents and web pages can be made slow, large, or made to crash. So they run in a child (child.py), which
gets bytes through a pipe and writes JSON into another: it opens no file of ours, and nothing that it sends is code. A
child that did well is kept for the next document, for starting one takes half a second; one that did not is ended, as
is one that grew, or has nothing to do for a minute. This keeps faults of parsers in; it is no wall against a document
that takes its parser over, which runs as the same user (docs/documents.md says what is left to it).
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO, Any, cast

from phireside.errors import DocumentError, DocumentTooLargeError

IDLE_SECONDS = 60  # after which a child that is kept ends by itself
_KEPT = 2  # children that wait for work, at most
_JOBS, _GROWN = 200, 200_000_000  # documents, and bytes of memory, after which a child is not kept
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "HOME", "USERPROFILE", "APPDATA", "SYSTEMROOT")
_COMMAND = (sys.executable, "-P", "-B", "-X", "utf8", "-m", "phireside.retrieval.loading.child")
_ERRORS = {each.__name__: each for each in (DocumentError, DocumentTooLargeError)}
BROKEN = "It is damaged, or built in a way that cannot be read"
SAVE_ANEW = "Open it in a program of its kind and save it anew, or get another copy."
_SMALLER = "Split it, or save it without what makes it large."


def run(
    parser: str,
    data: bytes,
    options: Mapping[str, Any],
    *,
    seconds: float,
    memory_bytes: int,
    answer_bytes: int,
) -> Any:
    """What a parser makes of data.

    Args:
        parser: "module:function"; it is called as function(data, **options) and returns what JSON can say.
        data: that somebody else wrote.
        options: what JSON can say.
        seconds: for everything.
        memory_bytes: of address space, where the system can bound that (Linux).
        answer_bytes: of the JSON.

    Raises:
        DocumentError: the parser raised it, or failed.
        DocumentTooLargeError: it took too much.
    """
    head = {"parser": parser, "options": dict(options), "size": len(data)}
    head |= {"seconds": seconds, "memory_bytes": memory_bytes, "answer_bytes": answer_bytes}
    child = _taken()
    try:
        answer = child.ask(json.dumps(head).encode() + b"\n", data, seconds, answer_bytes)
    except BaseException:
        child.end()
        raise
    _given_back(child, answer.get("held_bytes", 0))
    if "error" in answer:
        kind = _ERRORS.get(str(answer["error"]), DocumentError)
        raise kind(str(answer.get("message", BROKEN)), hint=str(answer.get("hint", "")))
    return answer["value"]


class _Child:
    """A process that parses one document after another."""

    def __init__(self) -> None:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        try:
            self.process = subprocess.Popen(_COMMAND, stdin=pipe, stdout=pipe, stderr=nowhere, env=environment)
        except OSError as error:  # no memory, too many processes or open files
            raise DocumentError(
                f"Its reader cannot be started: {error.strerror or error}.", hint="Close other programs and try again."
            ) from error
        self.jobs = 0
        self._late, self._since = False, time.monotonic()

    def ask(self, head: bytes, data: bytes, seconds: float, answer_bytes: int) -> dict[str, Any]:
        """The answer to a request."""
        self.jobs += 1
        timer = threading.Timer(seconds, self._too_late)
        timer.daemon = True
        timer.start()
        try:
            return self._asked(head, data, answer_bytes)
        except (OSError, ValueError, EOFError) as error:  # the pipe broke, or what came is no answer
            self.end()
            raise self._fault(seconds) from error
        finally:
            timer.cancel()
            timer.join()
            self._since = time.monotonic()

    def _asked(self, head: bytes, data: bytes, answer_bytes: int) -> dict[str, Any]:
        requests, answers = cast(IO[bytes], self.process.stdin), cast(IO[bytes], self.process.stdout)
        with contextlib.suppress(BrokenPipeError):  # it may have refused without reading to the end
            requests.write(head)
            requests.write(data)
            requests.flush()
        size = int(answers.readline(20) or b"none")
        if not 0 <= size <= answer_bytes:
            raise ValueError(f"an answer of {size} bytes")
        body = answers.read(size)
        if len(body) < size:
            raise EOFError
        answer = json.loads(body)
        if not isinstance(answer, dict) or not {"value", "error"} & set(answer):
            raise ValueError("no answer")
        return answer

    def _too_late(self) -> None:
        self._late = True
        self.process.kill()

    def _fault(self, seconds: float) -> DocumentError:
        """Why there is no answer."""
        if self._late or self.process.returncode == -24:  # SIGXCPU
            return DocumentTooLargeError(f"It takes longer than {seconds:g} s to read.", hint=_SMALLER)
        return DocumentError(f"{BROKEN}: its reader ended with {self.process.returncode}.", hint=SAVE_ANEW)

    def usable(self) -> bool:
        """Whether it can be asked again, and is not about to end by itself."""
        idle = time.monotonic() - self._since
        return not self._late and idle < IDLE_SECONDS / 2 and self.process.poll() is None

    def end(self) -> None:
        """End it and wait until it has."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                cast(IO[bytes], pipe).close()
        self.process.wait()


_idle: list[_Child] = []
_lock = threading.Lock()


def _taken() -> _Child:
    """A child that waits, or a new one."""
    while True:
        with _lock:
            child = _idle.pop() if _idle else None
        if child is None:
            return _Child()
        if child.usable():
            return child
        child.end()


def _given_back(child: _Child, held_bytes: int) -> None:
    """Keep a child for the next document, unless it has done enough."""
    with _lock:
        keep = len(_idle) < _KEPT and child.jobs < _JOBS and held_bytes < _GROWN and child.usable()
        if keep:
            _idle.append(child)
    if not keep:
        child.end()


@atexit.register
def end_children() -> None:
    """End the processes that wait for documents."""
    while _idle:
        _idle.pop().end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a fork must not talk to its parent's children
