"""A chain's graph in Graphviz's language, as people want it: what goes in, each prompt with its model, what comes out.

Does not import Streamlit.
"""

from collections import defaultdict
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.prompts import BasePromptTemplate
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_core.runnables.graph import Graph, Node

Edges = dict[str, set[str]]

HIDDEN = {"cost", "shortened"}  # of a result: no step gives them

_INK = {False: ("#2c2420", "#b9a794", "#f4ece2", "#f7dcc6"), True: ("#eee5da", "#7d6f63", "#292320", "#5a3522")}
"""Text, lines, plain boxes and the boxes of models, for the light and the dark theme."""


def dot(chain: Runnable[Any, Any], *, dark: bool) -> str:
    """The graph's source for Graphviz.

    Args:
        chain: any.
        dark: whether it will stand on a dark page.
    """
    graph = chain.get_graph()
    edges = _edges(graph)
    labels = _labels(chain, graph, edges)
    ink, line, plain, filled = _INK[dark]
    shown = [node for node in graph.nodes.values() if node.id in edges]
    boxes = [
        f"{_quoted(node.id)} [label={_quoted(labels[node.id])} "
        f'fillcolor="{filled if _is_model(node.data) or _is_prompt(node.data) else plain}"];'
        for node in shown
    ]
    arrows = [
        f"{_quoted(node.id)} -> {_quoted(other.id)};" for node in shown for other in shown if other.id in edges[node.id]
    ]
    return "\n".join(
        [
            'digraph { bgcolor="transparent"; rankdir="TB"; nodesep=0.25; ranksep=0.3;',
            f'node [shape="box" style="rounded,filled" fontname="sans-serif" fontsize=12 fontcolor="{ink}" '
            f'color="{line}" margin="0.18,0.08"];',
            f'edge [color="{line}" arrowsize=0.7];',
            *boxes,
            *arrows,
            "}",
        ]
    )


def _edges(graph: Graph) -> Edges:
    edges: Edges = {node: set() for node in graph.nodes}
    for edge in graph.edges:
        edges[edge.source].add(edge.target)
    return edges


def _is_model(data: Any) -> bool:
    return isinstance(data.bound if isinstance(data, RunnableBinding) else data, BaseLanguageModel)


def _is_prompt(data: Any) -> bool:
    return isinstance(data, BasePromptTemplate)


def _labels(chain: Runnable[Any, Any], graph: Graph, edges: Edges) -> dict[str, str]:
    """What each box says. A model that only one prompt is sent to is drawn into the prompt's box."""
    sources = defaultdict[str, set[str]](set)
    for source, targets in edges.items():
        for target in targets:
            sources[target].add(source)
    labels = {}
    for node in graph.nodes.values():
        if node.id not in edges:
            continue
        labels[node.id] = _label(node, chain, is_first=not sources[node.id])
        (target,) = edges[node.id] if len(edges[node.id]) == 1 else ("",)
        if _is_prompt(node.data) and sources[target] == {node.id} and _is_model(graph.nodes[target].data):
            labels[node.id] += f"\n→ {_model_name(graph.nodes[target])}"
            edges[node.id] = edges.pop(target)
    return labels


def _label(node: Node, chain: Runnable[Any, Any], *, is_first: bool) -> str:
    """A step's name; of what goes in, and of what comes out, the names of its parts."""
    if not isinstance(node.data, type):
        return _model_name(node) if _is_model(node.data) else node.name
    given = field_names(chain.get_input_schema())
    schema: Any = chain.get_output_schema()
    if is_first:
        return "\n".join(given) or "input"
    repeated = set() if "root" in schema.model_fields else {*given}  # a dict goes through a chain, and grows
    return "\n".join(name for name in field_names(schema) if name not in HIDDEN | repeated) or "result"


def field_names(schema: Any) -> list[str]:
    """The names of what goes into a chain, or comes out, by its schema; none for a plain text."""
    fields = schema.model_fields
    return list(getattr(fields["root"].annotation, "__dataclass_fields__", {}) if "root" in fields else fields)


def _model_name(node: Node) -> str:
    data: Any = node.data.bound if isinstance(node.data, RunnableBinding) else node.data
    return str(getattr(data, "model", None) or getattr(data, "model_name", None) or data.get_name())


def _quoted(text: str) -> str:
    """A text as Graphviz takes it literally."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
