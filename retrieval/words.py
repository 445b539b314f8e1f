"""FTS5's words compared with the texts that they are a copy of. Knows no queries.

FTS5 has no checksums; the texts have. So before the first search of a process the two are compared, and the copy is
made anew if it is not equal.
"""

import logging

from phireside.errors import IndexDamagedError, KnowledgeError
from phireside.retrieval.database import MANY_CHUNKS, Database

log = logging.getLogger(__name__)


def mended(database: Database) -> bool:
    """Whether the words are those of the texts, now. Not asked of a base with more than `MANY_CHUNKS`.

    False where somebody writes at the moment, or the base cannot be written, as FTS5 has to for this.
    """
    try:
        with database.trying() as connection:
            if connection.execute("SELECT total FROM base").fetchone()[0] <= MANY_CHUNKS:
                connection.execute("INSERT INTO words(words, rank) VALUES ('integrity-check', 1)")
    except IndexDamagedError:
        log.warning("The words in %s are not those of its texts: they are made anew.", database.path)
        with database.writing() as connection:
            connection.execute("INSERT INTO words(words) VALUES ('rebuild')")
    except KnowledgeError:
        return False
    return True
