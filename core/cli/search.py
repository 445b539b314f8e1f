"""`phireside search`: what a base has for a query, and why. Prints what search says; decides nothing itself.

Results go to stdout. A base that is not there is an error: a search creates none.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phireside.cli.options import Base
from phireside.cli.output import Json, examples, plain, print_json, reporting_errors
from phireside.errors import KnowledgeError
from phireside.retrieval.names import base_names, offered_bases, shown_source
from phireside.settings import Settings

if TYPE_CHECKING:
    from phireside.retrieval import KnowledgeBase
    from phireside.retrieval.search import Hit

EXAMPLES = examples(
    'phireside search "notice period" --base letters',
    'phireside search "error E4711" --base work -k 20 --explain',
    'phireside search "notice period" --base letters --json',
)
_LINES = 4  # of a passage that are shown

Reranker = Annotated[str, typer.Option(help="A cross-encoder's name or folder, late:MODEL, or chat:MODEL.")]


@reporting_errors()
def search(
    query: Annotated[str, typer.Argument(help="What you look for.")],
    base: Base = "documents",
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Most passages.")] = 5,
    stages: Annotated[str, typer.Option(help="Of dense, keyword, feedback, with commas between. Default: all.")] = "",
    reranker: Reranker = "",
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Lowest cosine of a passage. Default: any.")
    ] = None,
    diversity: Annotated[float, typer.Option(min=0, max=1, help="0: best first; 1: as unlike as can be.")] = 0.0,
    neighbours: Annotated[int, typer.Option(min=0, help="Chunks before and after a passage to show with it.")] = 0,
    explain: Annotated[bool, typer.Option("--explain", help="Show each stage's rank and score.")] = False,
    as_json: Json = False,
) -> None:
    """Search a base of documents. Nothing found is an answer too: exit code 0, and no passage."""
    if not query.strip():
        raise KnowledgeError("The query is empty.", hint="Say what you look for.")
    from phireside.models.reranker import reranker as load_reranker
    from phireside.retrieval.search import Search
    from phireside.retrieval.search import search as find

    how = Search(
        k=k,
        stages=split(stages) or None,
        rerank=load_reranker(reranker) if reranker else None,
        threshold=threshold,
        diversity=diversity,
        neighbours=neighbours,
    )
    opened = open_base(base)
    try:
        hits = find(opened, query, how)
    finally:
        opened.close()
    if as_json:
        print_json([_as_data(hit) for hit in hits])
    else:
        print(plain("\n\n".join(_as_text(at, hit, explain) for at, hit in enumerate(hits, 1)) or "Nothing found."))


def split(names: str) -> Any:
    """Names between commas."""
    return tuple(name.strip() for name in names.split(",") if name.strip())


def open_base(name: str) -> "KnowledgeBase":
    """The base of a name, with the settings' embedding model.

    Raises:
        KnowledgeError: there is none.
    """
    from phireside.cli.embedding import embedding_model
    from phireside.retrieval import KnowledgeBase

    settings = Settings()
    check_base(name, settings)
    return KnowledgeBase.named(name, settings.bases_dir, embedding_model(settings.embeddings))


def check_base(name: str, settings: Settings) -> None:
    """Raises KnowledgeError if there is no base of that name."""
    if name not in base_names(settings.bases_dir):
        known = ", ".join(offered_bases(settings.bases_dir)) or "none"
        raise KnowledgeError(f"There is no base {name!r}; there are: {known}.", hint="`phireside index` makes one.")


def _as_data(hit: "Hit") -> dict[str, Any]:
    document = {"id": hit.document.id, "text": hit.document.page_content, "metadata": hit.document.metadata}
    return {**document, "score": hit.score, "ranks": dict(hit.ranks), "scores": dict(hit.scores)}


def _as_text(at: int, hit: "Hit", explain: bool) -> str:
    lines = [line for line in hit.document.page_content.splitlines() if line.strip()]
    more = ["…"] if len(lines) > _LINES else []
    reasons = (
        [f"   {name}: place {rank}, {hit.scores[name]:.4f}" for name, rank in hit.ranks.items()] if explain else []
    )
    return "\n".join([f"[{at}] {_place(hit.document.metadata)}", *reasons, *lines[:_LINES], *more])


def _place(metadata: Mapping[str, Any]) -> str:
    """Where a passage stands: source, heading, page."""
    page = f"page {metadata['page']}" if metadata.get("page") else ""
    parts: Sequence[Any] = (shown_source(metadata) or "added text", metadata.get("heading"), page)
    return ", ".join(str(part) for part in parts if part)
