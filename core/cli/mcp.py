"""`phireside mcp`: an MCP server over stdin and stdout, for a program that starts it. Decides nothing itself."""

import sys
from typing import Annotated

import typer

from phireside.cli.complete import base_names
from phireside.cli.models import check_model
from phireside.cli.options import Model
from phireside.cli.output import examples, reporting_errors, tell
from phireside.settings import Settings

EXAMPLES = examples(
    "phireside mcp",
    "phireside mcp --base work --base letters --no-chains",
    "claude mcp add documents -- phireside mcp --base work",
)


@reporting_errors()
def mcp(
    base: Annotated[
        list[str] | None,
        typer.Option("--base", "-b", help="Offer this base only. Default: all.", autocompletion=base_names),
    ] = None,
    chains: Annotated[bool, typer.Option(help="Offer the chains of the gallery.")] = True,
    model: Model = "",
) -> None:
    """Offer search in documents, and chains, to a program that speaks MCP. That program starts this one.

    It speaks through stdin and stdout, and ends when they are closed. docs/cli.md shows how programs are told of it.
    """
    from phireside.api.mcp import Offers, serve_stdio  # the official package and LangChain
    from phireside.models import load_chat_model

    settings = Settings()
    if chains:
        check_model(model or settings.model, settings)
    llm = load_chat_model(model, settings) if model else None
    offers = Offers(settings, bases=base, chains=chains, model=llm)
    if sys.stdin.isatty():
        tell("This speaks MCP with the program that starts it, and not with people. Ctrl-C ends it.")
    serve_stdio(offers)
