"""Cassettes: what models and tools answered, in a YAML file that people can read, so that a run needs no model.

An answer is found by the prompt as the model was asked it (messages and tools, written out) and by its parameters, a
tool's by its name and arguments. What counts tokens is recorded too: policies and memories decide by it. Prompts are
written out before the chat template, which is in the weights that a replay does without.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar
from uuid import uuid4

import yaml
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from phireside.agents.scenarios.load import CASSETTE
from phireside.errors import PhiresideError, SettingsError, ToolError
from phireside.models.tools import as_dict

Mode = Literal["record", "replay"]
Kind = TypeVar("Kind", bound=BaseChatModel)

_VERSION = 1
_LARGEST = 50_000_000  # bytes
_KEPT = ("finish_reason", "ended_by", "evaluated_tokens", "cached_tokens", "model_name", "shortened")
_BROKEN = (OSError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError, yaml.YAMLError)
_NO_PARAMETERS = {"tools", "stop_signal"}  # tools stand in the prompt; a signal says nothing of the answer
_HINT = "Record it anew with --record, or undo what changed the prompt."


class Cassette:
    """The answers of one scenario, in a file.

    Args:
        folder: of the file; it is made when it is saved.
        name: of the scenario's file, without its ending.
        mode: "record" asks models and tools and keeps what they say, "replay" asks nobody.
        model: the name of the model that is recorded; on replay `model` is the one that was.

    Raises:
        SettingsError: there is nothing to replay, or the file cannot be used.
    """

    def __init__(self, folder: Path, name: str, mode: Mode, model: str = "") -> None:
        self.mode, self.model, self._path = mode, model, folder / f"{name}{CASSETTE}"
        self._lock = threading.RLock()  # counting tokens may ask for the size of the context
        self._entries: list[dict[str, Any]] = []
        self._counts: dict[str, int] = {}
        self._used: set[int] = set()
        self.missed: SettingsError | None = None  # an agent may take an error for a result
        if mode == "replay":
            self._read()

    def for_a_run(self) -> "Cassette":
        """The same cassette, which tells what this run has missed and no other."""
        return copy(self)

    def _read(self) -> None:
        try:
            if self._path.stat().st_size > _LARGEST:
                raise SettingsError(f"{self._path} is larger than {_LARGEST:,} bytes.")
            data = yaml.safe_load(self._path.read_text("utf-8"))
            if data["version"] != _VERSION:
                raise ValueError(f"its version is {data['version']!r}, and this program reads {_VERSION}")
            self.model = str(data["model"])
            self._entries = [_checked(each) for each in data["answers"]]
            self._counts = {str(key): int(count) for key, count in data["counts"].items()}
        except FileNotFoundError:
            raise SettingsError(f"There is no cassette {self._path}.", hint="Record it with --record first.") from None
        except _BROKEN as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise SettingsError(f"The cassette {self._path} cannot be used: {reason}.", hint=_HINT) from error

    def save(self) -> None:
        """Write what was recorded, in one step; on replay, nothing."""
        if self.mode == "replay":
            return
        counts = dict(sorted(self._counts.items()))
        data = {"version": _VERSION, "model": self.model, "answers": self._entries, "counts": counts}
        part = self._path.with_name(self._path.name + ".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000), "utf-8")
            part.replace(self._path)
        except OSError as error:
            raise SettingsError(f"{self._path} cannot be written: {error.strerror}.") from error

    def tool(self, name: str, arguments: Mapping[str, Any], run: Callable[[], str]) -> str:
        """What a tool gives for arguments; see `phireside.agents.scenarios.toolbox.Tape`."""
        key = {"tool": name, "arguments": _plain(arguments)}
        if self.mode == "replay":
            entry = self._find(key)
            if "error" in entry:
                raise ToolError(str(entry["error"]), hint=str(entry.get("hint", "")))
            return str(entry["returned"])
        try:
            result = run()
        except PhiresideError as error:
            self._keep({**key, "error": error.message, "hint": error.hint})
            raise
        self._keep({**key, "returned": result})
        return result

    def answer(self, key: Mapping[str, Any], ask: Callable[[], AIMessage]) -> AIMessage:
        """What a model answers to a prompt with parameters."""
        if self.mode == "replay":
            return _message(self._find(key)["answer"])
        message = ask()
        self._keep({**key, "answer": _written(message)})
        return message

    def count(self, what: str, measure: Callable[[], int]) -> int:
        """A number of tokens."""
        key = hashlib.sha256(what.encode(errors="replace")).hexdigest()[:16]
        if self.mode == "record":
            with self._lock:
                return self._counts.setdefault(key, measure())
        if key not in self._counts:
            self.missed = SettingsError(f"{self._path} has no count of the tokens of {what[-80:]!r}.", hint=_HINT)
            raise self.missed
        return self._counts[key]

    def _keep(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._entries.append(entry)

    def _find(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """The next answer to this key; the last one again if all were used."""
        with self._lock:
            fitting = [at for at, each in enumerate(self._entries) if all(each.get(name) == key[name] for name in key)]
            if not fitting:
                self.missed = SettingsError(f"{self._path} has no answer. {self._difference(key)}", hint=_HINT)
                raise self.missed
            at = next((at for at in fitting if at not in self._used), fitting[-1])
            self._used.add(at)
            return self._entries[at]

    def _difference(self, key: Mapping[str, Any]) -> str:
        """Where the recorded key that has most in common with this one first differs from it."""
        wanted = _lines(key)
        others = [(at, _lines(each)) for at, each in enumerate(self._entries) if each.keys() >= key.keys()]
        if not others:
            return "It has no answers of this kind."
        at, nearest = max(others, key=lambda other: _common(wanted, other[1]))
        line = _common(wanted, nearest)
        was, now = ([*lines, *[""] * (line + 1)][line] for lines in (nearest, wanted))
        found = f"  recorded: {was!r:.300}\n  now:      {now!r:.300}\n"
        return f"The nearest is answer {at + 1}; the first difference, in line {line + 1}:\n{found}"


def _checked(entry: Any) -> dict[str, Any]:
    if not isinstance(entry, dict) or not ({"prompt", "with", "answer"} <= entry.keys() or "tool" in entry):
        raise ValueError("an answer has neither prompt nor tool")
    if not isinstance(entry["arguments" if "tool" in entry else "with"], dict):
        raise ValueError("the arguments of a tool, and what stands at with, are keys and values")
    if "tool" not in entry:
        _message(entry["answer"])
    elif not {"returned", "error"} & entry.keys():
        raise ValueError("a tool has neither returned something nor an error")
    return entry


def _lines(key: Mapping[str, Any]) -> list[str]:
    """A key as lines, the prompt first."""
    if "tool" in key:
        return [f"tool: {key['tool']}", *(f"{name}: {value}" for name, value in key["arguments"].items())]
    return [*str(key["prompt"]).splitlines(), *(f"{name}: {value}" for name, value in sorted(key["with"].items()))]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many lines are the same at the beginning."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


# ---- a model with a cassette -------------------------------------------------------------------------------------


def taped(model: Kind, cassette: Cassette) -> Kind:
    """The same model, which asks the cassette first; still of its class, by which agents know what it can do."""
    kind = type(f"Taped{type(model).__name__}", (_Taped, type(model)), {"cassette": cassette, "__module__": __name__})
    copy: Kind = model.model_copy()
    object.__setattr__(copy, "__class__", kind)  # pydantic's own takes fields only
    return copy


class _Taped(BaseChatModel):
    """What a model with a cassette does otherwise. It does not stream: an answer is kept when it is whole."""

    cassette: ClassVar[Cassette]

    def _should_stream(self, **_: Any) -> bool:
        return False

    def _should_use_protocol_streaming(self, **_: Any) -> bool:
        return False

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        def ask() -> AIMessage:
            result = super(_Taped, self)._generate(messages, stop, run_manager, **kwargs)  # type: ignore[safe-super]
            return _only(result)

        key = {"prompt": rendered(messages, kwargs.get("tools") or ()), "with": self._parameters(stop, kwargs)}
        return ChatResult(generations=[ChatGeneration(message=self.cassette.answer(key, ask))])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await BaseChatModel._agenerate(self, messages, stop, run_manager, **kwargs)

    def _parameters(self, stop: list[str] | None, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        own = {**self._identifying_params, "seed": getattr(self, "seed", None)}
        given = {name: value for name, value in kwargs.items() if name not in _NO_PARAMETERS}
        return {name: _plain(value) for name, value in {**own, **given, "stop": stop}.items() if value is not None}

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], tools: Any = None) -> int:
        """The model's count, or the recorded one."""

        def measure() -> int:
            return super(_Taped, self).get_num_tokens_from_messages(list(messages), tools)

        return self.cassette.count(rendered(messages, tools or ()), measure)

    def get_token_ids(self, text: str) -> list[int]:
        """The model's tokens; on replay as many zeros as there were."""
        found: list[int] = []

        def measure() -> int:
            found.extend(super(_Taped, self).get_token_ids(text))
            return len(found)

        count = self.cassette.count(f"text: {text}", measure)
        return found or [0] * count

    @property
    def context_size(self) -> int:
        """The model's, if it knows one, or the recorded one."""
        kind: Any = super()
        if not hasattr(type(self).__mro__[2], "context_size"):
            raise AttributeError("context_size")
        return self.cassette.count("context_size", lambda: int(kind.context_size))


def rendered(messages: Sequence[BaseMessage], tools: Sequence[Any]) -> str:
    """What a model is asked, as text: a line for each tool, and the messages. Ids of calls change, and are left out."""
    return "\n".join([*(f"tool: {_described(as_dict(tool))}" for tool in tools), *map(_said, messages)])


def _described(tool: Mapping[str, Any]) -> str:
    """A tool in a line; of its grammars, which can be long, a sign that changes with them."""
    grammars = json.dumps(_plain(tool.get("grammars", {})), sort_keys=True)
    sign = {"grammars": hashlib.sha256(grammars.encode()).hexdigest()[:8]} if "grammars" in tool else {}
    return json.dumps({**_plain(tool), **sign}, ensure_ascii=False, sort_keys=True)


def _said(message: BaseMessage) -> str:
    calls = getattr(message, "tool_calls", [])
    name = f" ({message.status})" if isinstance(message, ToolMessage) and message.status == "error" else ""
    lines = [f"{call['name']}({json.dumps(_plain(call['args']), ensure_ascii=False)})" for call in calls]
    text = f" {message.text}" if message.text else ""
    return "\n".join([f"{message.type}{name}:{text}", *(f"  calls {line}" for line in lines)])


def _plain(value: Any) -> Any:
    """A value as YAML has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)[:2000]


def _written(message: AIMessage) -> dict[str, Any]:
    found: dict[str, Any] = {"text": str(message.text)}
    if thought := message.additional_kwargs.get("reasoning_content"):
        found["thought"] = thought
    if message.tool_calls:
        found["calls"] = [{"name": each["name"], "arguments": _plain(each["args"])} for each in message.tool_calls]
    if message.usage_metadata:
        found["usage"] = _plain(message.usage_metadata)
    kept = {name: message.response_metadata[name] for name in _KEPT if name in message.response_metadata}
    return {**found, "about": _plain(kept)} if kept else found


def _message(found: Mapping[str, Any]) -> AIMessage:
    calls = [
        {"name": str(each["name"]), "args": dict(each["arguments"]), "id": f"call_{uuid4()}", "type": "tool_call"}
        for each in found.get("calls", [])
    ]
    thought = {"reasoning_content": found["thought"]} if "thought" in found else {}
    usage, about = found.get("usage"), dict(found.get("about", {}))
    text = str(found["text"])
    return AIMessage(text, tool_calls=calls, additional_kwargs=thought, usage_metadata=usage, response_metadata=about)


def _only(result: ChatResult) -> AIMessage:
    message = result.generations[0].message
    if not isinstance(message, AIMessage):
        raise SettingsError(f"The model answered with {type(message).__name__}, which no cassette can keep.")
    return message


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (people read this: no &id001)
        """Never an anchor."""
        return True


def _represent(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)
