"""Two tools for tests that only look at what is made of tools."""

from langchain_core.tools import tool


@tool
def add(a: int, b: int) -> int:
    """Add two whole numbers."""
    return a + b


@tool
def look_up(query: str) -> str:
    """Search the web."""
    return query
