"""Approval by a person before a tool with effects: LangChain's `HumanInTheLoopMiddleware`.

The turn stops in the checkpointer, also beyond a restart, until `Command(resume={"decisions": [{"type": "approve"}]})`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain.agents.middleware import HumanInTheLoopMiddleware, InterruptOnConfig
from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.tools import BaseTool
from langgraph.types import Interrupt

from phireside.agents.policies.marks import EFFECTS, effects_of
from phireside.agents.policies.turn import is_run
from phireside.errors import RequestError

_HINT = (
    'Pass Command(resume={"decisions": [...]}) with {"type": "approve"}, or another type, for each call in its order.'
)


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


def check_decisions(interrupts: Sequence[Interrupt], resume: Any) -> None:
    """Whether a person's decisions fit what is waited for.

    LangGraph saves them before LangChain looks at them, and a turn with decisions that do not fit can never go on.

    Args:
        interrupts: that wait; those that are not about tools are left to whoever made them.
        resume: of a `Command`: for all, or by the interrupts' ids.

    Raises:
        RequestError: the decisions are not as many as the calls, or one of them is none that there is for its call.
    """
    by_id = isinstance(resume, Mapping) and bool(resume) and set(resume) <= {each.id for each in interrupts}
    for interrupt in interrupts:
        value = interrupt.value
        if isinstance(value, Mapping) and "review_configs" in value and (not by_id or interrupt.id in resume):
            _check(resume[interrupt.id] if by_id else resume, value["review_configs"])


def _check(given: Any, reviews: Sequence[Any]) -> None:
    decisions = given.get("decisions") if isinstance(given, Mapping) else None
    if not isinstance(decisions, list):
        raise RequestError(f"An approval is answered with {given!r:.80}, which has no list of decisions.", hint=_HINT)
    if len(decisions) != len(reviews):
        raise RequestError(
            f"{len(reviews)} calls wait for approval, but there are {len(decisions)} decisions.", hint=_HINT
        )
    for decision, review in zip(decisions, reviews, strict=True):
        kind = decision.get("type") if isinstance(decision, Mapping) else None
        if kind not in review["allowed_decisions"]:
            allowed = ", ".join(review["allowed_decisions"])
            raise RequestError(f"The decision {decision!r:.80} has no type of {allowed}.", hint=_HINT)
        if kind == "edit" and not _is_action(decision.get("edited_action")):
            raise RequestError(
                f"The decision {decision!r:.80} does not say what to call in its place.",
                hint='Add "edited_action": {"name": "...", "args": {...}}.',
            )
        if not isinstance(decision.get("message", ""), str):
            raise RequestError(f"The message of the decision {decision!r:.80} is no text.", hint=_HINT)


def _is_action(action: Any) -> bool:
    return (
        isinstance(action, Mapping) and isinstance(action.get("name"), str) and isinstance(action.get("args"), Mapping)
    )
