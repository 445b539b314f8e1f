"""All conversations of a database at once: how many there are, and their deletion. Knows nothing of what they hold."""

from sqlalchemy import func, select

from phireside.memory.database import Database
from phireside.memory.rows import switch_row
from phireside.memory.schema import conversations, facts, forgotten_facts


class WholeStore:
    """The conversations together; `ConversationStore.whole`. Thread-safe.

    Args:
        database: where they are.

    Raises:
        StoreError: in every method: the database cannot be read or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self) -> int:
        """How many there are."""
        with self._database.reading() as connection:
            return connection.scalar(select(func.count()).select_from(conversations)) or 0

    def delete(self) -> int:
        """Delete them all, with what memories made of them; how many there were. Facts stay, without their source.

        SQLite's file is then written anew, so that nothing of them is in it, and it is as small as it can be.
        PostgreSQL keeps the bytes of deleted rows until its own VACUUM.

        Raises:
            StoreError: they are deleted, but another program reads the database, and its log still has their bytes.
        """
        with self._database.writing() as connection:
            ids = select(conversations.c.id).order_by(conversations.c.id).with_for_update()
            count = len(connection.scalars(ids).all())
            switch_row(connection)  # locks are taken in one order: see remembered.py
            connection.execute(facts.update().values(position=None))
            connection.execute(conversations.delete())
            connection.execute(forgotten_facts.delete())  # they have no foreign key
        self._database.rewrite()
        self._database.scrub()
        return count
