"""An arm of benchmarks/agents.py in a process of its own: it may crash or hang, and the benchmark goes on.

Knows nothing of agents: an arm is a function that makes another one, which answers a question.
"""

import argparse
import importlib
import multiprocessing
import warnings
from multiprocessing.connection import Connection
from typing import Any


class Child:
    """Answers questions in another process, which is started anew after it has crashed or was ended.

    Args:
        maker: "module:function" to be called with the options there; what it returns is called with each question.
        name: of the arm, given to the maker.
        options: the command line's.
        seconds: that one question may take.
    """

    def __init__(self, maker: str, name: str, options: argparse.Namespace, seconds: float) -> None:
        self._given, self._seconds = (maker, name, options), seconds
        self._process: Any = None
        self._pipe: Connection | None = None

    def ask(self, question: str) -> tuple[Any, str]:
        """What came back, and "" or why nothing did: "crashed …", "hung", or the error's name."""
        pipe = self._pipe or self._start()
        pipe.send(question)
        if not pipe.poll(self._seconds):
            self.end()
            return None, "hung"
        try:
            answer, error = pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            self.end()
            return None, f"crashed with exit code {code}"
        return answer, error

    def end(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_answer, args=(theirs, *self._given), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is seen here
        return self._pipe


def _answer(pipe: Connection, maker: str, name: str, options: argparse.Namespace) -> None:
    """What the other process does."""
    warnings.simplefilter("ignore")  # the peers are deprecated, and say so
    module, _, function = maker.partition(":")
    ask = getattr(importlib.import_module(module), function)(name, options)
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((ask(question), ""))
        except Exception as error:  # noqa: BLE001 (whatever an arm raises is counted)
            pipe.send((None, f"{type(error).__name__}: {str(error)[:200]}"))
