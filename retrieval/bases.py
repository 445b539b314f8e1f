"""Bases made and deleted as a whole, without their embedding model. Knows nothing of what is in them."""

import shutil
from pathlib import Path

from phireside.errors import KnowledgeError
from phireside.retrieval.database import Database
from phireside.retrieval.names import base_folder, base_names


def create_base(name: str, folder: Path) -> None:
    """Make an empty base.

    Args:
        name: see `KnowledgeBase.named`.
        folder: of bases.

    Raises:
        KnowledgeError: the name cannot be one, or is one already; capitals do not count, as some disks see it.
    """
    place = base_folder(name, folder)
    if known := next((each for each in base_names(folder) if each.casefold() == name.casefold()), None):
        raise KnowledgeError(f"There is a base {known!r} already.", hint="Choose another name, or add to that one.")
    Database(place).close()


def delete_base(name: str, folder: Path) -> None:
    """Delete a base and all that is in it, for good. It is not opened, for it may be damaged; close it before.

    Args:
        name: of the base.
        folder: of bases.

    Raises:
        KnowledgeError: there is none of this name, or it cannot be deleted.
    """
    place = base_folder(name, folder)
    if name not in base_names(folder):
        raise KnowledgeError(f"There is no base {name!r}.", hint="It may have been deleted meanwhile.")
    try:
        shutil.rmtree(place)
    except OSError as error:
        raise KnowledgeError(
            f"{name} cannot be deleted: {error.strerror or error}.",
            hint=f"Check your rights to {place}; a link is for you to delete.",
        ) from error
