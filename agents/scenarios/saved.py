"""A conversation as a scenario: what was asked, stubs that give what the tools gave, and the answers as script.

It runs at once on the model `scripted`; what is expected of other models is for the person to write.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from phireside.agents.policies.observations import READ_ON
from phireside.agents.policies.repeated_calls import AGAIN
from phireside.agents.policies.untrusted import UNTRUSTED, inside
from phireside.errors import RequestError
from phireside.models.messages import thought_of


def as_scenario(
    name: str, messages: Sequence[BaseMessage], *, model: str = "", system: str = "", memory: str = "", tools: Any = ()
) -> str:
    """The YAML of a scenario that repeats a conversation.

    Args:
        name: of the scenario.
        messages: of the conversation, in order.
        model: name of the model that answered.
        system: its system prompt.
        memory: its memory.
        tools: LangChain tools that were there; the description of one that was called is taken from here.

    Raises:
        RequestError: nobody asked anything.
    """
    turns = list(_turns(messages))
    if not turns:
        raise RequestError("There is no question in this conversation.", hint="Ask something first.")
    given = {"system": system, "model": model, "memory": memory, "tools": _stubs(messages, tools)}
    about = {"name": name, **{key: value for key, value in given.items() if value}, "approvals": "approve"}
    text = yaml.safe_dump({**about, "turns": turns}, sort_keys=False, allow_unicode=True, width=110)
    return f"# Saved from a conversation. docs/scenarios.md says what can be expected of an answer.\n{text}"


def _turns(messages: Sequence[BaseMessage]) -> Iterable[dict[str, Any]]:
    turn: dict[str, Any] | None = None
    for message in messages:
        if message.type == "human":
            if turn:
                yield turn
            turn = {"user": str(message.text), "script": []} if message.text else None
        elif isinstance(message, AIMessage) and turn:
            turn["script"] += _steps(message)
    if turn:
        yield turn


def _steps(message: AIMessage) -> list[dict[str, Any]]:
    calls = [{"call": call["name"], "arguments": dict(call["args"])} for call in message.tool_calls]
    steps = calls or ([{"answer": str(message.text)}] if message.text else [])
    thought = thought_of(message) or (str(message.text) if calls else "")
    return [{"thought": thought, **steps[0]}, *steps[1:]] if thought and steps else steps


def _stubs(messages: Sequence[BaseMessage], tools: Iterable[Any]) -> list[dict[str, Any]]:
    """A stub for each tool that was called, with its results."""
    known = {tool.name: tool.description for tool in tools}
    gave = {each.tool_call_id: each for each in messages if isinstance(each, ToolMessage)}
    stubs: dict[str, dict[str, Any]] = {}
    parts: dict[str, dict[str, Any]] = {}  # of each call, the result of which there may be more
    for call in (call for message in messages if isinstance(message, AIMessage) for call in message.tool_calls):
        answer = gave.get(call["id"] or "")
        if answer is None:
            continue
        arguments = dict(call["args"])
        described = known.get(call["name"]) or f"The tool {call['name']}."
        stub = stubs.setdefault(call["name"], {"name": call["name"], "description": described, "results": []})
        if answer.response_metadata.get(UNTRUSTED):
            stub["untrusted"] = True
        kind, text = "error" if answer.status == "error" else "returns", _own_text(answer)
        same = json.dumps([call["name"], arguments], sort_keys=True, default=str)
        if (known_part := parts.get(same, {})).get("returns", "").endswith(READ_ON):
            known_part["returns"] = f"{known_part['returns'].removesuffix(READ_ON)} {text}"
        elif same not in parts:  # a stub gives the first result that fits
            parts[same] = {**_when(arguments), kind: text}
            stub["results"].append(parts[same])
    for part in parts.values():
        if "returns" in part:
            part["returns"] = part["returns"].removesuffix(READ_ON)
    return list(stubs.values())


def _own_text(answer: ToolMessage) -> str:
    """What the tool gave, without what the agent's policies put around it: they do it again."""
    text = str(answer.text).removeprefix(AGAIN)
    return inside(text) if answer.response_metadata.get(UNTRUSTED) else text


def _when(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"when": dict(arguments)} if arguments else {}
