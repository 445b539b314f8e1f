"""The agent of the API. Nobody can be asked over HTTP: it has tools with effects only if the server's owner says so.

Knows tools by their names and nothing of what they do.
"""

import logging
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.graph.state import CompiledStateGraph

from phireside.agents import build_agent
from phireside.agents.policies.marks import effects_of
from phireside.agents.policies.sums import Sums
from phireside.api.parts import Options
from phireside.errors import PhiresideError
from phireside.settings import Settings
from phireside.tools.named import TOOLS, make_tools, unusable

log = logging.getLogger(__name__)


def make_agent(
    model: BaseChatModel, settings: Settings, options: Options, system_prompt: str
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """An agent for one request.

    Args:
        model: that thinks.
        settings: what tools may reach.
        options: which tools it has.
        system_prompt: of the request; may be empty.
    """
    tools = _tools(settings, options)
    return build_agent(model, tools, system_prompt=system_prompt, approve=False, middleware=[Sums()])


def _tools(settings: Settings, options: Options) -> list[BaseTool]:
    names = options.tools
    if names is None:
        allowed = (name for name in TOOLS if options.allow_effects or TOOLS[name].effects == "none")
        names = tuple(name for name in allowed if not unusable(name, settings))
    made = make_tools(names, settings, failed=_note)
    return [tool for tool in made if options.allow_effects or effects_of(tool) == "none"]


def _note(name: str, error: PhiresideError) -> None:
    log.warning("The agent goes without %s: %s", name, error)
