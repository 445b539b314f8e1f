"""Approval by a person before a tool with effects: LangChain's `HumanInTheLoopMiddleware`.

The turn stops in the checkpointer, also beyond a restart, until `Command(resume={"decisions": [{"type": "approve"}]})`.
"""

from collections.abc import Sequence
from typing import Any

from langchain.agents.middleware import HumanInTheLoopMiddleware, InterruptOnConfig
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.tools import BaseTool

from phireside.agents.policies.marks import EFFECTS, effects_of
from phireside.agents.policies.turn import is_run


def approval(tools: Sequence[BaseTool]) -> HumanInTheLoopMiddleware | None:
    """The middleware for the tools with effects; None if no tool has any."""
    gated: dict[str, bool | InterruptOnConfig] = {
        tool.name: _config(effects_of(tool)) for tool in tools if effects_of(tool) != "none"
    }
    return HumanInTheLoopMiddleware(gated) if gated else None


def _config(effects: str) -> InterruptOnConfig:
    def description(tool_call: Any, state: Any, runtime: Any) -> str:  # noqa: ARG001 (LangChain passes all three)
        return f"{tool_call['name']} {EFFECTS[effects]}. Arguments: {tool_call['args']}"

    return InterruptOnConfig(allowed_decisions=["approve", "edit", "reject"], description=description, when=_will_run)


def _will_run(request: ToolCallRequest) -> bool:
    """Nobody is asked about a call that only repeats what is known."""
    return is_run(request.state["messages"], request.tool_call)
