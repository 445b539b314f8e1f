"""Tools that an agent may call, one file per tool: each has a factory of its own name, which returns a LangChain tool.

`tool.metadata` says what a call of it does: {"grammars": of its arguments, "effects": "none", "outward" (something
leaves this machine) or "writes", "untrusted": whether what it returns was written by strangers}.

They are imported when one is first asked for: LangChain's tools take a third of a second.
"""

from typing import TYPE_CHECKING

from phireside.lazy import lazy

if TYPE_CHECKING:
    from phireside.retrieval.fetch import Limits
    from phireside.tools.calculator import calculator
    from phireside.tools.clock import clock
    from phireside.tools.knowledge import knowledge
    from phireside.tools.mcp import mcp_tools
    from phireside.tools.mcp_approvals import Offer
    from phireside.tools.named import TOOLS, NamedTool, make_tools
    from phireside.tools.read_file import read_file
    from phireside.tools.read_page import read_page
    from phireside.tools.web_search import Found, ddgs, searxng, web_search
else:
    __getattr__ = lazy(
        __name__,
        {
            "calculator": "calculator",
            "clock": "clock",
            "web_search": "web_search",
            "ddgs": "web_search",
            "searxng": "web_search",
            "Found": "web_search",
            "read_page": "read_page",
            "knowledge": "knowledge",
            "read_file": "read_file",
            "mcp_tools": "mcp",
            "Offer": "mcp_approvals",
            "TOOLS": "named",
            "NamedTool": "named",
            "make_tools": "named",
            "Limits": "read_page",
        },
    )


__all__ = [
    "calculator",
    "clock",
    "web_search",
    "ddgs",
    "searxng",
    "Found",
    "read_page",
    "knowledge",
    "Limits",
    "read_file",
    "mcp_tools",
    "Offer",
    "TOOLS",
    "NamedTool",
    "make_tools",
]
