"""`build_agent`: LangChain's `create_agent` with the policies that let a small model come to an end.

Puts the policies in order and knows nothing of what they decide, nor of any particular tool.
"""

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware.types import AgentMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool, tool
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Checkpointer

from phireside.agents.policies.approval import approval
from phireside.agents.policies.limits import Limits, TurnLimits
from phireside.agents.policies.marks import is_untrusted
from phireside.agents.policies.observations import Observations
from phireside.agents.policies.repeated_calls import RepeatedCalls
from phireside.agents.policies.tool_errors import ToolErrors
from phireside.agents.policies.tool_time import ToolTime
from phireside.agents.policies.untrusted import RULE, Untrusted
from phireside.errors import RequestError
from phireside.memory import Memory

__all__ = ["Limits", "build_agent"]


def build_agent(
    model: BaseChatModel,
    tools: Sequence[BaseTool | Callable[..., Any] | dict[str, Any]],
    *,
    system_prompt: str = "",
    memory: Memory | None = None,
    limits: Limits = Limits(),  # noqa: B008 (frozen)
    approve: bool = True,
    checkpointer: Checkpointer = None,
    middleware: Sequence[AgentMiddleware[Any, Any, Any]] = (),
    name: str | None = None,
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """An agent that calls tools until it knows the answer, within limits. `agent.invoke({"messages": [("user", …)]})`.

    Args:
        model: any that calls tools. ChatGGUF decodes each step under the grammar of what is allowed in it.
        tools: LangChain tools or typed functions. `metadata` says what a call does: {"effects": "none", "outward"
            (something leaves this machine) or "writes", "untrusted": whether the result is the text of strangers}.
        system_prompt: what the agent is told before the tools.
        memory: makes a long conversation fit.
        limits: of each turn.
        approve: whether a person is asked before a tool with effects runs; see `policies/approval.py`.
        checkpointer: where conversations are kept, by the `thread_id` in a call's configuration.
        middleware: LangChain's or your own; the policies stand around it.
        name: of the agent, on its answers.

    Raises:
        RequestError: a tool's effects are none that there are, an approval has no checkpointer to wait in, the model
            is a name, or a tool is the function that makes one.
    """
    if not isinstance(model, BaseChatModel):
        raise RequestError(f"{model!r:.80} is no chat model.", hint='Pass ChatGGUF(model="starter"), or another one.')
    bound = [_bound(each) for each in tools]
    known = [each for each in [*bound, *_tools_of(middleware)] if isinstance(each, BaseTool)]
    untrusted = {each.name for each in known if is_untrusted(each)}
    # In LangChain's order: the first stands around all others.
    policies: list[AgentMiddleware[Any, Any, Any]] = [
        TurnLimits(limits),
        RepeatedCalls(),
        Untrusted(untrusted),
        Observations(limits.observation_tokens, model),
        ToolErrors(),
        ToolTime(limits),
        *_gate(known, approve=approve, checkpointer=checkpointer),
        *middleware,
        *([memory] if memory else []),  # sees what is really sent
    ]
    prompt = "\n\n".join(filter(None, [system_prompt, RULE if untrusted else ""])) or None
    return create_agent(model, bound, system_prompt=prompt, middleware=policies, checkpointer=checkpointer, name=name)


def _bound(given: BaseTool | Callable[..., Any] | dict[str, Any]) -> BaseTool | dict[str, Any]:
    """A function as a tool. Raises RequestError for `calculator` in the place of `calculator()`."""
    made = getattr(given, "__annotations__", {}).get("return") if isinstance(given, FunctionType) else None
    if isinstance(given, FunctionType) and (
        made == "BaseTool" or (isinstance(made, type) and issubclass(made, BaseTool))
    ):
        raise RequestError(f"{given.__name__} makes a tool, and is none.", hint=f"Write {given.__name__}().")
    return given if isinstance(given, BaseTool | dict) else tool(given)


def _gate(
    tools: Sequence[BaseTool], *, approve: bool, checkpointer: Checkpointer
) -> list[AgentMiddleware[Any, Any, Any]]:
    """The approval of tools with effects, if there are any and a person is to be asked.

    Raises:
        RequestError: see `build_agent`.
    """
    gate = approval(tools)
    if gate is None or not approve:
        return []
    if not checkpointer:
        raise RequestError(
            f"{', '.join(gate.interrupt_on)} must be approved by a person, but there is no checkpointer to wait in.",
            hint="Pass checkpointer=InMemorySaver(), or another that outlives the program; or approve=False.",
        )
    return [gate]


def _tools_of(middleware: Sequence[AgentMiddleware[Any, Any, Any]]) -> list[BaseTool]:
    return [each for one in middleware for each in getattr(one, "tools", ())]
