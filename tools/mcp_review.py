"""What of the MCP servers of a file may be used, and what waits for a person: for a page, which cannot ask in between.

A server that was not approved is not started; one that was is started to list its tools. Nothing is called.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from phireside.errors import PhiresideError
from phireside.tools.mcp import mcp_tools
from phireside.tools.mcp_approvals import Offer

Key: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True)
class Review:
    """What a look at the servers has found.

    Attributes:
        tools: names of the tools that may be used.
        offers: what a person has not approved as it is now.
        problems: servers that cannot be used, and why.
    """

    tools: tuple[str, ...]
    offers: tuple[Offer, ...]
    problems: tuple[tuple[str, PhiresideError], ...]


def key_of(offer: Offer) -> Key:
    """What tells one offer from all others, also from the same tool of another server."""
    return offer.server, offer.tool, offer.fingerprint


def review(path: Path, approvals: Path, accepted: Collection[Key] = ()) -> Review:
    """Look at the servers of a file. It may take as long as the slowest needs to start (`mcp.SECONDS` at most).

    Args:
        path: the JSON file that names them.
        approvals: the file in which approvals are kept.
        accepted: offers of an earlier review (`key_of`) that the person approves. One that has changed since then is
            offered anew.

    Raises:
        SettingsError: a file cannot be read or written.
    """
    offers: list[Offer] = []
    problems: list[tuple[str, PhiresideError]] = []

    def approve(offer: Offer) -> bool:
        if key_of(offer) in accepted:
            return True
        offers.append(offer)
        return False

    tools = mcp_tools(
        path, approvals=approvals, approve=approve, failed=lambda server, error: problems.append((server, error))
    )
    return Review(tuple(tool.name for tool in tools), tuple(offers), tuple(problems))
