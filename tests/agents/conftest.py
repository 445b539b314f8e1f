"""Tools that count how often they were run."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.tools import BaseTool, tool
from one_chat import conversation, store  # noqa: F401 (fixtures)


class Counted:
    """Tools, and the arguments that they were run with."""

    def __init__(self) -> None:
        self.runs: list[Any] = []

    def tool(self, name: str, result: Callable[[str], Any] = str.upper, **metadata: Any) -> BaseTool:
        """A tool with one text for an argument."""

        def run(text: str) -> Any:
            """Does something with a text."""
            self.runs.append((name, text))
            return result(text)

        made = tool(name)(run)
        made.metadata = metadata
        return made


@pytest.fixture
def counted() -> Counted:
    return Counted()
