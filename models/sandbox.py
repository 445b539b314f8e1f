"""Jinja for untrusted templates: no code, bounded time, bounded memory.

A template may reach texts, numbers, lists, dicts, its loops and its namespaces, and of these only what is named here.
Whatever makes a text or a container passes through `_spend` or `_bounded`, because one operation in C (a comparison of
lists nested sixty deep, a text of gigabytes) cannot be interrupted. Knows nothing of chats.
"""

import ctypes
import datetime
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any, NoReturn, TypeVar

from jinja2 import TemplateError as JinjaError
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.runtime import LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from phireside.errors import TemplateError

TIME_LIMIT_S = 5.0
SIZE_LIMIT = 16_000_000  # characters of one text; a context of 128k tokens is about 600,000
TOTAL_LIMIT = 10 * SIZE_LIMIT  # characters of all texts that one rendering makes on its way
PIECES_LIMIT = 100_000  # of a text that is split
ARGUMENT_LIMIT = 200  # characters of what a text is searched for: a search from the right takes their product in steps
_POINTER = 8  # what an element of a container counts, in characters

# What chat templates use. `sort` and `round` are left out: they compare and compute in single steps without bound.
_FILTERS = [
    "default", "dictsort", "first", "float", "int", "items", "last", "length", "map", "reject", "rejectattr", "select",
    "selectattr", "unique",
]  # fmt: skip
_TEXT_FILTERS = ["capitalize", "lower", "string", "title", "trim", "upper"]
_TESTS = [
    "boolean", "callable", "defined", "false", "float", "integer", "iterable", "lower", "mapping", "none", "number",
    "sameas", "sequence", "string", "true", "undefined", "upper", "in", "==", "eq", "equalto", "!=", "ne", ">", "gt",
    "greaterthan", "<", "lt", "lessthan", "<=", "le", ">=", "ge",
]  # fmt: skip
_STR_METHODS = {
    "capitalize", "count", "endswith", "find", "index", "isalpha", "isdigit", "lower", "lstrip", "partition",
    "removeprefix", "removesuffix", "rfind", "rpartition", "rstrip", "startswith", "strip", "title", "upper",
}  # fmt: skip
_DICT_METHODS = {"get", "items", "keys", "values"}

T = TypeVar("T")


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment in which a chat template is compiled and rendered, both by way of `within`."""

    intercepted_binops = frozenset(["*", "**", "%", "+"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation], finalize=_written
        )
        self.filters = {
            **{name: self.filters[name] for name in _FILTERS},
            **{name: partial(_filter_text, self.filters[name]) for name in _TEXT_FILTERS},
            "join": _join,
            "list": _list,
            "replace": _replace,
            "reverse": _reverse,
            "safe": _written,
            "tojson": _to_json,
            _CONTAINER: _bounded,
            _SLICE: _slice,
        }
        # Jinja's own odd and even would %-format a text.
        self.tests = {name: self.tests[name] for name in _TESTS} | {"odd": _is_odd, "even": _is_even}
        self.globals = {
            "range": self.globals["range"],  # of at most 100,000
            "namespace": _Namespace,
            "dict": _dict,
            "raise_exception": _raise,
            "strftime_now": _strftime_now,
        }

    concat = staticmethod(lambda parts: _join(parts))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002 (Jinja's signature)
        """Numbers stay small, texts are neither multiplied nor %-formatted; texts and lists may be added."""
        if isinstance(left, int | float) and isinstance(right, int | float):
            if max(abs(left), abs(right)) < 2**31 and not (operator == "**" and right > 32):
                return self.binop_table[operator](left, right)
        elif operator == "+" and isinstance(left, str) and isinstance(right, str):
            _spend(len(left) + len(right))
            return left + right
        elif operator == "+" and isinstance(left, list | tuple) and isinstance(right, list | tuple):
            _spend(_POINTER * (len(left) + len(right)))
            return _bounded(left + right)  # type: ignore[operator]  # of two kinds: Python refuses
        raise JinjaError(
            f"'{operator}' of {type(left).__name__} and {type(right).__name__} is not allowed, or too large"
        )

    def getattr(self, obj: Any, attribute: str) -> Any:
        """What is named above, the keys of dicts, and what loops and namespaces have."""
        if isinstance(obj, str):
            return self._text_method(obj, attribute)
        if isinstance(obj, Mapping) and attribute not in _DICT_METHODS:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        if isinstance(obj, Mapping | Namespace | LoopContext | Undefined):
            return super().getattr(obj, attribute)
        return self.unsafe_undefined(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """As in Jinja: an element, else the attribute of that name."""
        try:
            return obj[argument]
        except (TypeError, LookupError):
            if isinstance(argument, str):
                return self.getattr(obj, argument)
        return self.undefined(obj=obj, name=argument)

    def _text_method(self, text: str, name: str) -> Any:
        # Functions, not partials: the parts of a partial can be read.
        if name in _STR_METHODS:
            return lambda *args: _call_method(getattr(text, name), text, args)
        if name in {"split", "rsplit"}:
            return lambda sep=None, maxsplit=-1: _split(getattr(text, name), text, sep, maxsplit)
        if name == "replace":
            return lambda *args: _replace(text, *args)
        if name == "join":
            return lambda items: _join(items, text)
        return self.unsafe_undefined(text, name)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        return _Checked().visit(tree)  # type: ignore[no-any-return]  # Jinja's visitor is untyped


_CONTAINER, _SLICE = "[]", "[:]"  # filters of ours that no template can name


class _Checked(NodeTransformer):
    """Sends what Jinja compiles to bare Python, where sizes are not checked, through filters that check them."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 (Jinja's naming, here and below)
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "join")

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, _CONTAINER)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, _CONTAINER)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, _CONTAINER) if node.ctx == "load" else node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        none = nodes.Const(None)
        return _filtered(node.node, _SLICE, *(part or none for part in (node.arg.start, node.arg.stop, node.arg.step)))

    def visit_Name(self, node: nodes.Name) -> nodes.Node:  # noqa: N802
        if node.name in {"varargs", "kwargs"}:  # a macro's containers that nobody checks
            raise JinjaError(f"'{node.name}' is not allowed")
        return node


def _filtered(node: nodes.Expr, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`, which marks training targets in some templates: nothing to us."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's interface)

    def parse(self, parser: Any) -> list[nodes.Node]:
        """The block's content."""
        next(parser.stream)
        body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return body


class _Namespace(Namespace):
    """Jinja's, without a text that shows its content: namespaces within namespaces would make it endless."""

    def __repr__(self) -> str:
        return "<namespace>"


# ---- what is counted -------------------------------------------------------------------------------------------------

_spent = threading.local()  # each rendering has a thread of its own


def _spend(size: int) -> None:
    """Count the characters of a new text."""
    _spent.total = getattr(_spent, "total", 0) + size
    if size > SIZE_LIMIT:
        raise JinjaError(f"a text of {size:,} characters is more than the {SIZE_LIMIT:,} allowed")
    if _spent.total > TOTAL_LIMIT:
        raise JinjaError(f"it makes texts of more than {TOTAL_LIMIT:,} characters in all")


def _bounded(value: T) -> T:
    """A new container, if what it holds, counted as often as it is held, stays below SIZE_LIMIT."""
    size, left = 0, [iter((value,))]
    while left:
        for item in left[-1]:
            size += _POINTER + (len(item) if isinstance(item, str) else 0)
            if size > SIZE_LIMIT:
                raise JinjaError(f"a list that holds more than {SIZE_LIMIT:,} characters is not allowed")
            if isinstance(item, list | tuple):
                left.append(iter(item))
                break
            if isinstance(item, dict):
                left.append(iter((*item.keys(), *item.values())))
                break
        else:
            left.pop()
    return value


def _written(value: Any) -> str:
    text = str(value)
    _spend(len(text))
    return text


def _filter_text(jinjas_filter: Callable[..., str], value: Any, chars: str | None = None) -> str:
    """A filter of Jinja's that makes a text as long as the old one; `chars` is of `trim` only."""
    _check_arguments(chars)
    text = _written(value)
    return jinjas_filter(text) if chars is None else jinjas_filter(text, chars)


def _call_method(method: Callable[..., Any], text: str, arguments: tuple[Any, ...]) -> Any:
    _check_arguments(*arguments)
    _spend(len(text))
    return method(*arguments)


def _check_arguments(*arguments: Any) -> None:
    for argument in arguments:
        if isinstance(argument, str) and len(argument) > ARGUMENT_LIMIT:
            raise JinjaError(f"a text of {len(argument):,} characters is too long for an argument")


def _split(method: Callable[..., list[str]], text: str, separator: str | None, maximum: int) -> list[str]:
    _check_arguments(separator)
    _spend(len(text))
    parts = method(separator, PIECES_LIMIT if maximum < 0 else min(maximum, PIECES_LIMIT))
    if len(parts) > PIECES_LIMIT:
        raise JinjaError(f"a text of more than {PIECES_LIMIT:,} pieces is not split")
    return parts


def _slice(value: Any, start: Any, stop: Any, step: Any) -> Any:
    part = value[start:stop:step]
    _spend(len(part) * (1 if isinstance(part, str) else _POINTER))
    return part


def _reverse(value: Any) -> Any:
    return _slice(value if isinstance(value, str) else _list(value), None, None, -1)


def _is_odd(value: Any) -> bool:
    return isinstance(value, int) and value % 2 == 1


def _is_even(value: Any) -> bool:
    return isinstance(value, int) and value % 2 == 0


def _list(value: Iterable[Any]) -> list[Any]:
    items = list(islice(value, PIECES_LIMIT + 1))
    if len(items) > PIECES_LIMIT:
        raise JinjaError(f"a list of more than {PIECES_LIMIT:,} elements is not allowed")
    _spend(_POINTER * len(items))
    return _bounded(items)


def _dict(*args: Any, **items: Any) -> dict[Any, Any]:
    return _bounded(dict(*args, **items))


def _join(items: Iterable[Any], separator: str = "", attribute: str | None = None) -> str:
    parts = []
    for item in items:
        part = str(item[attribute] if attribute else item)
        _spend(len(part) + len(separator))
        parts.append(part)
    return str(separator).join(parts)


def _replace(text: str, old: str, new: str, count: int | None = -1) -> str:
    text = str(text)
    _spend(len(text) + text.count(old) * len(new))
    return text.replace(old, new, -1 if count is None else count)


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    """Like Jinja's, but without HTML escapes, as chat templates expect; in steps that a time limit can interrupt."""
    encoder = json.JSONEncoder(ensure_ascii=False, indent=None if indent is None else min(int(indent), 8))
    return _join(encoder.iterencode(value))


def _raise(message: str) -> NoReturn:
    raise JinjaError(str(message)[:200])


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(str(form)[:40])


# ---- time ------------------------------------------------------------------------------------------------------------


def within(seconds: float, work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own; after `seconds` the thread is broken off.

    Raises:
        TemplateError: it took too long, or failed.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 (handed to the caller below)
            errors.append(error)

    thread = threading.Thread(target=run, name="chat-template", daemon=True)
    thread.start()
    thread.join(seconds)
    if results:
        return results[0]
    hint = "Pass another one as chat_template=…, or use another model file."
    if errors:
        reason = str(errors[0])[:300].rstrip(".") or type(errors[0]).__name__
        raise TemplateError(f"The chat template failed: {reason}.", hint=hint) from errors[0]
    # Jinja compiles to Python, so an exception can be raised from outside between two of its steps.
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(TimeoutError))
    raise TemplateError(f"The chat template took longer than {seconds:g} s.", hint=hint)
