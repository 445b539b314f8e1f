"""Chat templates: the GGUF's own Jinja template, rendered as untrusted code.

A template comes with the model file, so it runs in Jinja's sandbox, with few filters and methods, bounded time and
bounded texts (RELIABILITY row 15). There is no fall-back format: a model without a template needs one by argument.
Knows nothing of tokens or LangChain.
"""

import ctypes
import datetime
import functools
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from jinja2 import TemplateError as JinjaError
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from phireside.errors import TemplateError

TIME_LIMIT_S = 5.0
SIZE_LIMIT = 16_000_000  # characters of any text; a context of 128k tokens is about 600,000

# What templates use, less what could pad, format or repeat a few characters to gigabytes.
_FILTERS = [
    "capitalize", "default", "dictsort", "first", "float", "int", "items", "last", "length", "list", "lower", "map",
    "reject", "rejectattr", "reverse", "round", "safe", "select", "selectattr", "sort", "title", "trim", "unique",
    "upper",
]  # fmt: skip
_STR_METHODS = {
    "capitalize", "count", "endswith", "find", "index", "isalpha", "isdigit", "lower", "lstrip", "partition",
    "removeprefix", "removesuffix", "rfind", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith",
    "strip", "title", "upper",
}  # fmt: skip

Message = dict[str, Any]  # {"role": "system" | "user" | "assistant", "content": str}


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: the Jinja source, from the GGUF's `tokenizer.chat_template`.
        bos, eos: the model's begin- and end-of-text tokens as text.

    Raises:
        TemplateError: it is empty, no valid Jinja, or fails on a plain question.
    """

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        if not source.strip():
            raise TemplateError(
                "The model has no chat template, so its prompt format is not known.",
                hint="Pass chat_template=…, as printed on the model's page, or use an instruct model.",
            )
        self._globals = {"bos_token": bos, "eos_token": eos}
        try:
            self._template = _environment().from_string(source)
        except (JinjaError, RecursionError, ValueError) as error:
            raise TemplateError(f"The chat template is no valid Jinja: {error}.", hint=_BRING_ONE) from error
        probe = self._render([_message("user", "Why?")])
        if "Why?" not in probe:
            raise TemplateError("The chat template leaves out the user's message.", hint=_BRING_ONE)
        self.takes_system = self._takes_system()

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt, up to where the model's answer begins.

        Consecutive messages of one role are joined, since most templates demand turns. Where the template has no
        system role, the system text goes in front of the first user message.

        Raises:
            TemplateError: the template refuses the messages, takes too long or writes too much.
        """
        return self._render(_in_turns(messages if self.takes_system else _fold_system(messages)))

    def _render(self, messages: Sequence[Message]) -> str:
        values = {**self._globals, "messages": messages, "add_generation_prompt": True}
        return _within(TIME_LIMIT_S, lambda: self._join(values))

    def _join(self, values: dict[str, Any]) -> str:
        parts, size = [], 0
        for part in self._template.generate(**values):
            parts.append(part)
            size += len(part)
            _check_size(size)
        return "".join(parts)

    def _takes_system(self) -> bool:
        """Whether a system message comes out: some templates raise on it, some drop it silently."""
        try:
            return "Zebra7." in self._render([_message("system", "Zebra7."), _message("user", "Why?")])
        except TemplateError:
            return False


_BRING_ONE = "Pass another one as chat_template=…, or use another model file."


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which texts stay below SIZE_LIMIT."""

    intercepted_binops = frozenset(["*", "**", "%", "+"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002 (Jinja's signature)
        """Numbers stay small, texts are neither multiplied nor %-formatted; texts and lists may be added."""
        if isinstance(left, int | float) and isinstance(right, int | float):
            if max(abs(left), abs(right)) < 2**31 and not (operator == "**" and right > 32):
                return self.binop_table[operator](left, right)
        elif operator == "+" and len(left) + len(right) < SIZE_LIMIT:
            return left + right
        raise JinjaError(
            f"'{operator}' of {type(left).__name__} and {type(right).__name__} is not allowed, or too large"
        )

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As in Jinja, but only harmless methods of texts."""
        if isinstance(obj, str) and attribute == "replace":
            return functools.partial(_replace, obj)
        if isinstance(obj, str) and attribute == "join":
            return lambda items: _join(items, obj)
        if isinstance(obj, str) and attribute not in _STR_METHODS:
            return self.unsafe_undefined(obj, attribute)
        return super().getattr(obj, attribute)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Let `a ~ b` go through our `join`, which checks the size."""
        tree = super()._parse(source, name, filename)
        return _ConcatAsJoin().visit(tree)  # type: ignore[no-any-return]  # Jinja's visitor is untyped


class _ConcatAsJoin(NodeTransformer):
    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 (Jinja's naming)
        self.generic_visit(node)
        items = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(items, "join", [], [], None, None, lineno=node.lineno)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`, which marks training targets in some templates: nothing to us."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's interface)

    def parse(self, parser: Any) -> list[nodes.Node]:
        """The block's content."""
        next(parser.stream)
        body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return body


def _environment() -> _Sandbox:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
    own = {"join": _join, "replace": _replace, "tojson": _to_json}
    environment.filters = {**{name: environment.filters[name] for name in _FILTERS}, **own}
    environment.globals = {name: environment.globals[name] for name in ("range", "namespace", "dict")}
    environment.globals |= {"raise_exception": _raise, "strftime_now": _strftime_now}
    return environment


def _raise(message: str) -> NoReturn:
    raise JinjaError(str(message)[:200])


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(str(form)[:40])


def _join(items: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
    parts = [str(item[attribute] if attribute else item) for item in items]
    _check_size(sum(map(len, parts)) + len(separator) * len(parts))
    return str(separator).join(parts)


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    text = str(text)
    _check_size(len(text) + text.count(old) * len(new))
    return text.replace(old, new, -1 if count is None else count)


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    """Like Jinja's, but without HTML escapes, as chat templates expect; in steps that a time limit can interrupt."""
    encoder = json.JSONEncoder(ensure_ascii=False, indent=None if indent is None else min(int(indent), 8))
    parts, size = [], 0
    for part in encoder.iterencode(value):
        parts.append(part)
        size += len(part)
        _check_size(size)
    return "".join(parts)


def _check_size(size: int) -> None:
    if size > SIZE_LIMIT:
        raise JinjaError(f"a text of {size:,} characters is more than the {SIZE_LIMIT:,} allowed")


def _within(seconds: float, work: Callable[[], str]) -> str:
    """Run `work` in a thread of its own; after `seconds` the thread is broken off.

    Raises:
        TemplateError: it took too long, or failed.
    """
    results: list[str | BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 (handed to the caller below)
            results.append(error)

    thread = threading.Thread(target=run, name="chat-template", daemon=True)
    thread.start()
    thread.join(seconds)
    if not results:
        # Jinja compiles to Python, so an exception can be raised from outside between two of its steps.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(TimeoutError))
        raise TemplateError(f"The chat template took longer than {seconds:g} s.", hint=_BRING_ONE)
    result = results[0]
    if isinstance(result, TemplateError):
        raise result
    if isinstance(result, BaseException):
        raise TemplateError(f"The chat template failed: {result}.", hint=_BRING_ONE) from result
    return result


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _fold_system(messages: Sequence[Message]) -> list[Message]:
    """System texts as the beginning of the first user message."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system" and m["content"])
    rest = [m for m in messages if m["role"] != "system"]
    if not system:
        return rest
    at = next((i for i, m in enumerate(rest) if m["role"] == "user"), None)
    if at is None:
        return [_message("user", system), *rest]
    return [*rest[:at], {**rest[at], "content": f"{system}\n\n{rest[at]['content']}"}, *rest[at + 1 :]]


def _in_turns(messages: Sequence[Message]) -> list[Message]:
    """Consecutive messages of one role, joined by an empty line."""
    turns: list[Message] = []
    for message in messages:
        if turns and turns[-1]["role"] == message["role"]:
            turns[-1] = {**message, "content": f"{turns[-1]['content']}\n\n{message['content']}"}
        else:
            turns.append(dict(message))
    return turns
