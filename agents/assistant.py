"""Who answers in a conversation: the model alone, a base of documents, or an agent with tools.

Puts the parts together from settings; the chat page, the API and the command line use the same ones. Bases are opened
once per process. Agents and `rag_chain` are imported for a conversation that uses them: a first page need not wait.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

from phireside.chains.turn import Answerer
from phireside.errors import KnowledgeError
from phireside.models.embeddings import embeddings as embeddings_named
from phireside.retrieval import KnowledgeBase, base_names
from phireside.settings import Settings
from phireside.tools.named import make_tools

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import Checkpointer

    from phireside.agents.answering import Failed
    from phireside.chains.rag import RagChain
    from phireside.memory import Memory

DEFAULT_TOOLS = ("calculator", "clock")


@dataclass(frozen=True)
class Uses:
    """What a conversation has switched on, as its options "base" and "tools" say.

    Attributes:
        base: name of a base of documents; empty = none.
        tools: names of `phireside.tools.named.TOOLS`.
    """

    base: str = ""
    tools: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Those of a conversation's options; what is not text is not there."""
        base, tools = options.get("base"), options.get("tools")
        return cls(
            base if isinstance(base, str) else "",
            tuple(each for each in tools if isinstance(each, str)) if isinstance(tools, list | tuple) else (),
        )


def answerer(
    model: BaseChatModel,
    settings: Settings,
    uses: Uses,
    *,
    embeddings: Embeddings | None = None,
    folders: Sequence[Path] = (),
) -> Answerer | None:
    """Who answers instead of the model alone, for `Chat.send(…, answerer=…)`; None = nobody, the model does.

    With a base alone that is `rag_chain`; with tools an agent, to which a base is one tool more. Nothing is opened
    before it answers, and what cannot be opened then is the turn's error.

    Args:
        model: who writes.
        settings: where bases are, and what tools may reach.
        uses: what is switched on.
        embeddings: of the base; None = those of the settings.
        folders: in which `read_file` may read, beside those of the settings.
    """
    base = uses.base

    def open_base() -> KnowledgeBase:
        return knowledge_base(base, settings, embeddings)

    def make(failed: "Failed") -> list[BaseTool]:
        names = [*uses.tools, "knowledge"] if base else [each for each in uses.tools if each != "knowledge"]
        return make_tools(names, settings, folders=folders, base=open_base() if base else None, failed=failed)

    if uses.tools:
        from phireside.agents.answering import WithTools

        return WithTools(model, make, base)
    if base:
        from phireside.chains.answering import FromDocuments

        return FromDocuments(model, open_base, base)
    return None


def rag(model: BaseChatModel, settings: Settings, base: str, **how: Any) -> "RagChain":
    """`rag_chain` over a base.

    Args:
        model: who writes.
        settings: where bases are.
        base: its name.
        **how: further arguments of `rag_chain`.

    Raises:
        KnowledgeError: there is no such base.
    """
    from phireside.chains.rag import rag_chain

    return rag_chain(model, knowledge_base(base, settings), **how)


def agent(
    model: BaseChatModel,
    settings: Settings,
    tools: Sequence[str] = DEFAULT_TOOLS,
    base: str = "",
    checkpointer: "Checkpointer" = None,
    memory: "Memory | None" = None,
) -> "CompiledStateGraph[Any, Any, Any, Any]":
    """An agent with tools by name, and a base to search if one is named.

    Args:
        model: who decides and writes.
        settings: what tools may reach; `system_prompt` is the agent's.
        tools: names of `phireside.tools.named.TOOLS`.
        base: name of a base; empty = none.
        checkpointer, memory: see `build_agent`.

    Raises:
        SettingsError: a tool cannot be used.
        KnowledgeError: there is no such base.
        RequestError: a tool has effects, and there is no checkpointer in which an approval could wait.
    """
    from phireside.agents.build import build_agent
    from phireside.agents.policies.sums import Sums

    searched = knowledge_base(base, settings) if base else None
    names = [*tools, *(["knowledge"] if base else [])]
    made = make_tools(names, settings, base=searched)
    return build_agent(
        model,
        made,
        system_prompt=settings.system_prompt,
        memory=memory,
        checkpointer=checkpointer,
        middleware=[Sums()],
    )


_open: dict[tuple[Path, str], KnowledgeBase] = {}
_lock = threading.Lock()


def knowledge_base(
    name: str, settings: Settings, embeddings: Embeddings | None = None, *, create: bool = False
) -> KnowledgeBase:
    """The base of a name, opened once per process. Do not close it; `close_bases` does.

    Args:
        name: of the base.
        settings: where bases are, and which embedding model new ones have.
        embeddings: the embedding model, if it is opened now; None = that of the settings.
        create: whether to make it if there is none.

    Raises:
        KnowledgeError: there is no such base, or the name cannot be one.
    """
    with _lock:
        key = settings.bases_dir, name
        if key not in _open:
            if not create and name not in base_names(settings.bases_dir):
                raise KnowledgeError(
                    f"There is no base {name[:80]!r}.", hint="Choose another one, or make it: phireside index --help."
                )
            model = embeddings or embeddings_named(settings.embeddings)
            _open[key] = KnowledgeBase.named(name, settings.bases_dir, model, create=create)
        return _open[key]


def close_bases(*names: str, folder: Path | None = None) -> None:
    """Close bases, e.g. before one is deleted. What is asked for again is opened anew.

    Args:
        *names: of the bases; none = all.
        folder: the folder of bases (`settings.bases_dir`) in which they are; None = any.
    """
    with _lock:
        for key in list(_open):
            if (not names or key[1] in names) and folder in (None, key[0]):
                _open.pop(key).close()
