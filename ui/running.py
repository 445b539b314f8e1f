"""A chain at work for one page: it runs in the chains' event loop, and the page follows what has come so far.

It goes on while the person clicks about, and ends when it is stopped or its page is closed. Does not import Streamlit.
"""

import logging
import time
from collections.abc import AsyncGenerator
from concurrent.futures import wait
from contextlib import aclosing
from typing import Any, cast

from langchain_core.runnables import Runnable

from phireside.chains.loop import begin
from phireside.errors import PhiresideError

log = logging.getLogger(__name__)


class Running:
    """A call of a chain; begins at once.

    Args:
        chain: what is streamed. What comes is added up (`Growing` results: the last one counts).
        given: its input.
    """

    def __init__(self, chain: Runnable[Any, Any], given: Any) -> None:
        self.result: Any = None
        self.error: PhiresideError | None = None
        self.stopped = False
        self._began, self.seconds = time.monotonic(), 0.0
        self._work = begin(self._run(chain, given))

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._work.done()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it has come."""
        return bool(wait([self._work], seconds).done)

    def stop(self) -> None:
        """End it now, also if nothing has come yet; what came so far stays."""
        if not self.ended:
            self._now()
            self.stopped = self._work.cancel()

    async def _run(self, chain: Runnable[Any, Any], given: Any) -> None:
        try:
            async with aclosing(cast("AsyncGenerator[Any, None]", chain.astream(given))) as pieces:
                async for piece in pieces:
                    self.result = _added(self.result, piece)
                    self._now()
        except PhiresideError as error:
            self.error = error
        except Exception as error:  # chains and models of others raise what they like; the page says it
            log.exception("A chain failed")
            self.error = PhiresideError(f"The chain failed: {str(error) or type(error).__name__:.300}")
        self._now()

    def _now(self) -> None:
        self.seconds = time.monotonic() - self._began


def _added(before: Any, piece: Any) -> Any:
    """What has come so far; of values that cannot be added, the last one."""
    if before is None:
        return piece
    try:
        return before + piece
    except TypeError:
        return piece
