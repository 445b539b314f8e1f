"""What is in a base, told without its embedding model. Knows no documents."""

from dataclasses import dataclass
from pathlib import Path

from phireside.retrieval.database import Database
from phireside.retrieval.names import base_folder


@dataclass(frozen=True)
class BaseInfo:
    """A base in a line.

    Attributes:
        name: of the base.
        documents, chunks: how many.
        model: the embedding model; empty if nothing was added yet.
    """

    name: str
    documents: int
    chunks: int
    model: str


def base_info(name: str, folder: Path) -> BaseInfo:
    """Look into a base.

    Args:
        name: of a base that is there.
        folder: of bases.

    Raises:
        KnowledgeError: it cannot be read.
    """
    database = Database(base_folder(name, folder))
    try:
        with database.reading() as connection:
            documents, chunks = connection.execute(
                "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM chunks)"
            ).fetchone()
            model = connection.execute("SELECT name FROM models WHERE role = 'current'").fetchone()
    finally:
        database.close()
    return BaseInfo(name, documents, chunks, model[0] if model else "")
