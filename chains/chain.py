"""What the chains of our own making have in common: a name, variables, parts, and one async generator that does it.

A subclass writes `run`, which yields the result as it grows; all else that LangChain's `Runnable` offers (invoke,
stream, batch, their async forms, schemas, graph, callbacks) follows from it. Knows nothing of what a chain is for.
"""

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from itertools import pairwise
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar, get_args

from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig, RunnableGenerator
from langchain_core.runnables.graph import Graph, Node
from pydantic import BaseModel, create_model
from typing_extensions import get_original_bases

from phireside.chains.given import check_variables
from phireside.chains.loop import iterate
from phireside.errors import RequestError

Result = TypeVar("Result")
Part: TypeAlias = Runnable[Any, Any] | tuple[Runnable[Any, Any], ...]


class Growing:
    """A result that is streamed: each one is the whole of it so far, so that adding two gives the later one."""

    def __add__(self, later: Any) -> Any:
        return later


class Chain(RunnableGenerator[Any, Result], Generic[Result]):
    """A chain that one async generator runs.

    Args:
        parts: what it consists of, by name, for people who look at its graph: a prompt with the model that it is sent
            to, or something else that runs.
        edges: which part goes before which; "" = the input, and the output. None: one after the other.
        name: for people, in errors and schemas; None = that of the class.
    """

    variables: ClassVar[tuple[str, ...]] = ("text",)
    """The names of its input, which are texts. A chain with one takes a plain text or a message as well."""
    free: ClassVar[tuple[str, ...]] = ()
    """Those of them that need not be texts: what a prompt of the caller's own can say (numbers, lists, messages)."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Further names that may be given."""

    def __init__(
        self,
        parts: Mapping[str, Part] | None = None,
        edges: Iterable[tuple[str, str]] | None = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(self._sync, self._async, name=name or type(self).__name__)
        self.parts = dict(parts or {})
        self.edges = list(pairwise(["", *self.parts, ""]) if edges is None else edges)

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
        """The variables: texts, or whatever the chain takes."""
        fields: dict[str, Any] = {each: (Any if each in self.free else str, ...) for each in self.variables}
        fields |= dict.fromkeys(self.optional, (Any, None))
        return create_model(f"{self.get_name()}Input", **fields)

    def get_graph(self, config: RunnableConfig | None = None) -> Graph:
        """Input, parts, output."""
        graph = Graph()
        first, last = dict[str, Node](), {"": graph.add_node(self.get_input_schema(config))}
        for name, part in self.parts.items():
            # Ids are LangChain's: two chains in a row have parts of the same name.
            nodes = [graph.add_node(each) for each in (part if isinstance(part, tuple) else (part,))]
            graph.nodes[nodes[0].id] = nodes[0].copy(name=name)
            for pair in pairwise(nodes):
                graph.add_edge(*pair)
            first[name], last[name] = nodes[0], nodes[-1]
        first[""] = graph.add_node(self.get_output_schema(config))
        for before, after in self.edges:
            graph.add_edge(last[before], first[after])
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
            if not isinstance(values[name], str) and name not in self.free:
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


def _last(values: list[Any]) -> Any:
    """The input: as a step behind another it comes in pieces, which LangChain adds up."""
    whole = values[0]
    for value in values[1:]:
        try:
            whole = whole + value
        except TypeError:
            whole = value
    return whole
