"""What a tool says of itself in its `metadata` or `extras`: {"effects": …, "untrusted": …}.

A tool that says nothing is taken for one without effects whose result can be trusted.
"""

from typing import Any

from langchain_core.tools import BaseTool

from phireside.errors import RequestError

EFFECTS = {
    "none": "does nothing outside this conversation",
    "outward": "sends something off this machine",
    "writes": "changes something",
}


def effects_of(tool: BaseTool) -> str:
    """One of `EFFECTS`.

    Raises:
        RequestError: it says something else. An effect that nobody knows must not go unseen.
    """
    effects = _mark(tool, "effects", "none")
    if effects not in EFFECTS:
        raise RequestError(
            f"The tool {tool.name} says that its effects are {effects!r:.80}.", hint=f"Use one of {', '.join(EFFECTS)}."
        )
    return str(effects)


def is_untrusted(tool: BaseTool) -> bool:
    """Whether its results are the text of strangers."""
    return bool(_mark(tool, "untrusted", False))


def _mark(tool: BaseTool, name: str, default: Any) -> Any:
    return {**(tool.extras or {}), **(tool.metadata or {})}.get(name, default)
