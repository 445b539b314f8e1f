"""What the shell's Tab key offers: names of models, bases and tools. Says nothing, whatever goes wrong."""

from collections.abc import Callable, Iterable

from phireside.errors import PhiresideError
from phireside.settings import Settings


def model_names(incomplete: str) -> list[str]:
    """As `phireside models list` has them, and auto."""
    from phireside.models.catalog import Catalog  # LangChain comes with it

    return _beginning(incomplete, lambda: ["auto", *(entry.name for entry in Catalog(Settings()).entries())])


def base_names(incomplete: str) -> list[str]:
    """Of the bases of documents."""
    from phireside.retrieval.names import offered_bases

    return _beginning(incomplete, lambda: offered_bases(Settings().bases_dir))


def tool_names(incomplete: str) -> list[str]:
    """Of tools; several may be given, with commas between."""
    from phireside.tools.named import TOOLS

    before, comma, _ = incomplete.rpartition(",")
    free = [name for name in TOOLS if name not in before.split(",")]
    return _beginning(incomplete, lambda: [f"{before}{comma}{name}" for name in free])


def _beginning(incomplete: str, names: Callable[[], Iterable[str]]) -> list[str]:
    """The names that begin so; none if they cannot be told. Those of files may have what a shell must not see."""
    try:
        return [name for name in names() if name.startswith(incomplete) and name.isprintable()]
    except (PhiresideError, OSError):
        return []
