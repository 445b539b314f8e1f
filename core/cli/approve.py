"""`phireside approve`: a person reads what MCP servers are and offer, and says which may be used."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phireside.cli.output import examples, plain, reporting_errors, tell
from phireside.errors import RequestError
from phireside.settings import Settings

if TYPE_CHECKING:
    from phireside.errors import PhiresideError
    from phireside.tools import Offer


EXAMPLES = examples("phireside approve", "phireside approve servers.json")


@reporting_errors()
def approve(
    file: Annotated[
        Path | None,
        typer.Argument(help="The JSON file that names the servers. Default: tools.mcp_file of the settings."),
    ] = None,
) -> None:
    """Approve the servers and tools of an MCP file, one by one; scenarios use no others.

    What was approved before is asked again only if it has changed. Exit code 1 if a server cannot be used.
    """
    from phireside.tools import mcp_tools  # LangChain's adapters: not for --help

    settings = Settings()
    kept = settings.mcp_approvals
    kept.parent.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []

    def failed(server: str, error: "PhiresideError") -> None:
        problems.append(server)
        tell(f"{server}: {error}")

    tools = mcp_tools(file or settings.mcp_file, approvals=kept, approve=_ask, failed=failed)
    for tool in tools:
        print(plain(tool.name))
    tell(f"{len(tools)} {'tool' if len(tools) == 1 else 'tools'} approved, in {kept}.")
    if problems:
        raise typer.Exit(1)


def _ask(offer: "Offer") -> bool:
    """Ask at the terminal.

    Raises:
        RequestError: nobody can answer: the input has ended.
    """
    tell(f"\n{offer.why}")
    if offer.tool:
        tell(offer.text)
    tell("Approve? [y/N]")
    if not (answer := sys.stdin.readline()):
        raise RequestError("Nobody can answer: the input has ended.", hint="Run `phireside approve` at a terminal.")
    return answer.strip().lower() in {"y", "yes"}
