"""What the chains of our own making have in common: a name, variables, parts, and one async generator that does it.

A subclass writes `run`, which yields the result as it grows; all else that LangChain's `Runnable` offers (invoke,
stream, batch, their async forms, schemas, graph, callbacks) follows from it. Knows nothing of what a chain is for.
"""

import math
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar, Generic, TypeVar, get_args

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig, RunnableGenerator
from langchain_core.runnables.graph import Graph
from pydantic import BaseModel, create_model
from typing_extensions import get_original_bases

from phireside.chains.loop import iterate
from phireside.errors import RequestError
from phireside.models import load_chat_model

Result = TypeVar("Result")


class Growing:
    """A result that is streamed: each one is the whole of it so far, so that adding two gives the later one."""

    def __add__(self, later: Any) -> Any:
        return later


class Chain(RunnableGenerator[Any, Result], Generic[Result]):
    """A chain that one async generator runs.

    Args:
        parts: what it consists of, by name and in order, for people who look at its graph: prompts and models.
    """

    variables: ClassVar[tuple[str, ...]] = ("text",)
    """The names of its input, which are texts. A chain with one takes a plain text or a message as well."""
    free: ClassVar[tuple[str, ...]] = ()
    """Those of them that need not be texts: what a prompt of the caller's own can say (numbers, lists, messages)."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Further names that may be given."""

    def __init__(self, parts: Mapping[str, Runnable[Any, Any]] | None = None) -> None:
        super().__init__(self._sync, self._async, name=type(self).__name__)
        self.parts = dict(parts or {})

    @abstractmethod
    def run(self, given: dict[str, Any]) -> AsyncGenerator[Result, None]:
        """The result as it grows; the last one is whole. `given` has the variables, checked."""

    # ---- LangChain's interface ------------------------------------------------------------------------------------

    def _sync(self, inputs: Iterator[Any]) -> Iterator[Result]:
        yield from iterate(self.run(self.given(_last(list(inputs)))))

    async def _async(self, inputs: AsyncIterator[Any]) -> AsyncIterator[Result]:
        async with aclosing(self.run(self.given(_last([value async for value in inputs])))) as results:
            async for result in results:
                yield result

    @property
    def InputType(self) -> Any:  # noqa: N802 (LangChain's name)
        """A text or a dict of variables."""
        return str | dict[str, Any] if len(self.variables) == 1 else dict[str, Any]

    @property
    def OutputType(self) -> Any:  # noqa: N802
        """What the class says that it results in."""
        return get_args(get_original_bases(type(self))[0])[0]

    def get_input_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:  # noqa: ARG002
        """The variables, all of them texts or what the chain says they are."""
        fields: dict[str, Any] = dict.fromkeys(self.variables, (Any, ...)) | dict.fromkeys(self.optional, (Any, None))
        return create_model(f"{self.get_name()}Input", **fields)

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """Input, each part in order, output."""
        graph = Graph()
        before = graph.add_node(self.get_input_schema(config))
        for name, part in self.parts.items():
            node = graph.add_node(part)  # ids are LangChain's: two chains in a row have parts of the same name
            graph.nodes[node.id] = node.copy(name=name)
            graph.add_edge(before, node)
            before = node
        graph.add_edge(before, graph.add_node(self.get_output_schema(config)))
        return graph

    def given(self, value: Any) -> dict[str, Any]:
        """The input as a dict of variables. Of messages and prompts the text is taken.

        Raises:
            RequestError: one is missing, there is one too many, a text is empty, or is none.
        """
        text = _as_text(value)
        given = {self.variables[0]: text} if isinstance(text, str) and len(self.variables) == 1 else value
        if not isinstance(given, Mapping):
            raise RequestError(
                f"{self.get_name()} was given {type(value).__name__}.",
                hint=f"Pass a dict with {', '.join(self.variables)}{_OR_TEXT if len(self.variables) == 1 else ''}.",
            )
        values = {name: _as_text(each) for name, each in given.items()}
        check_variables(self.get_name(), values, self.variables, self.optional)
        for name in self.variables:
            if not isinstance(values[name], str) and (name not in self.free or _is_missing(values[name])):
                raise RequestError(
                    f"{self.get_name()} was given {type(values[name]).__name__} as {name}.", hint="Pass a text."
                )
        return values


_OR_TEXT = ", or a text; of what another chain gives, take the text: chain | (lambda result: result.text)"


def _as_text(value: Any) -> Any:
    """The text of a message or a prompt; all else as it is."""
    if isinstance(value, PromptValue):
        messages = value.to_messages()
        return messages[0].text if len(messages) == 1 else value.to_string()
    return value.text if isinstance(value, BaseMessage) else value


def _is_missing(value: Any) -> bool:
    """None, and what tables have in empty cells."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def check_variables(name: str, given: Mapping[str, Any], needed: Any, optional: Any = ()) -> None:
    """Raises RequestError if a variable is missing, unknown or an empty text; `name` says whose they are."""
    missing = [each for each in needed if each not in given]
    unknown = [str(each) for each in given if each not in needed and each not in optional]
    if missing or unknown:
        said = [f"{what}: {', '.join(names)}" for what, names in (("missing", missing), ("unknown", unknown)) if names]
        raise RequestError(
            f"The variables of {name} do not fit; {'; '.join(said)}.", hint=f"It takes {', '.join(needed)}."
        )
    empty = [each for each in needed if isinstance(given[each], str) and not given[each].strip()]
    if empty:
        raise RequestError(f"{name} was given an empty {empty[0]}.", hint="Pass some text.")


def _last(values: list[Any]) -> Any:
    """The input: as a step behind another it comes in pieces, which LangChain adds up."""
    whole = values[0]
    for value in values[1:]:
        try:
            whole = whole + value
        except TypeError:
            whole = value
    return whole


def chosen(model: BaseChatModel | None) -> BaseChatModel:
    """The model that a caller gave, or else the one of the settings."""
    return load_chat_model() if model is None else model
