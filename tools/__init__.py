"""Tools that an agent may call, one file per tool: each has a factory of its own name, which returns a LangChain tool.

`tool.metadata` says what a call of it does: {"grammars": of its arguments, "effects": "none", "outward" (something
leaves this machine) or "writes", "untrusted": whether what it returns was written by strangers}.

They are imported when one is first asked for: LangChain's tools take a third of a second.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phireside.tools.calculator import calculator
    from phireside.tools.clock import clock
    from phireside.tools.fetch import Limits
    from phireside.tools.read_page import read_page
    from phireside.tools.web_search import Found, ddgs, searxng, web_search
else:
    _LAZY = {
        "calculator": "calculator",
        "clock": "clock",
        "web_search": "web_search",
        "ddgs": "web_search",
        "searxng": "web_search",
        "Found": "web_search",
        "read_page": "read_page",
        "Limits": "fetch",
    }

    class _Room(ModuleType):
        """The import of `phireside.tools.clock` would set the module as this room's `clock`, in the factory's place."""

        def __setattr__(self, name: str, value: Any) -> None:
            if not (name in _LAZY and isinstance(value, ModuleType)):
                super().__setattr__(name, value)

    sys.modules[__name__].__class__ = _Room

    def __getattr__(name: str) -> object:
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


__all__ = ["calculator", "clock", "web_search", "ddgs", "searxng", "Found", "read_page", "Limits"]
