"""Work that takes a while, in a thread of its own: it outlives the page that began it, and can be watched and stopped.

Knows progress, failures and endings, and nothing of what is done. Does not import Streamlit.
"""

import logging
import threading
from collections.abc import Callable
from typing import TypeAlias

from phireside.errors import PhiresideError
from phireside.retrieval.loading import label

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds that work may take to stop when the server ends


class StoppedError(Exception):
    """A person stopped the work."""


class Work:
    """Work in a thread of its own; begins at once.

    Args:
        title: what it is: "Adding 3 files".
        do: does it, telling this object how far it is; gives a line about what it has done.

    Attributes:
        step: what it is at.
        done, total: how far it is; of 0 if that is not known.
        failed: what could not be read, by its label, and why.
        result: the line; empty while it runs, and after an error.
        error: what ended it, if anything did.
        stopped: whether a person did.
    """

    def __init__(self, title: str, do: "Do") -> None:
        self.title, self.step, self.result = title, "", ""
        self.done = self.total = 0
        self.failed: list[tuple[str, PhiresideError]] = []
        self.error: PhiresideError | None = None
        self.stopped = False
        self._stopping, self._over = threading.Event(), threading.Event()
        threading.Thread(target=self._run, args=(do,), name=title, daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._over.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end; whether it has come."""
        return self._over.wait(seconds)

    def stop(self) -> None:
        """End it as soon as it says again how far it is; what is done by then stays."""
        self._stopping.set()

    def say(self, step: str) -> None:
        """Tell what it is at now.

        Raises:
            StoppedError: it is to end.
        """
        if self._stopping.is_set():
            raise StoppedError
        self.step = step

    def progress(self, done: int, total: int, source: str) -> None:
        """Tell how far it is; a base calls this. Raises StoppedError as `say` does."""
        self.done, self.total = done, total
        self.say(label(source))

    def _run(self, do: "Do") -> None:
        try:
            self.result = do(self)
        except StoppedError:
            self.stopped = True
        except PhiresideError as error:
            self.error = error
        except Exception as error:  # a model of others raises what it likes; the page says it
            log.exception("%s failed", self.title)
            self.error = PhiresideError(f"{self.title} failed: {str(error) or type(error).__name__:.300}")
        finally:
            self._over.set()


Do: TypeAlias = Callable[[Work], str]
