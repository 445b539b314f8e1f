"""Rows that are locked, in this order: a conversation's, the facts' switch. Shared by all that keep something."""

from typing import Any

from sqlalchemy import Connection, Row, Select, select

from phireside.errors import ConversationNotFoundError
from phireside.memory.encoding import column_text
from phireside.memory.schema import conversations, facts_switch


def conversation_row(connection: Connection, conversation_id: str, *, lock: bool = False) -> Row[Any]:
    """A conversation's row.

    Args:
        connection: within a transaction.
        conversation_id: the conversation.
        lock: hold the row until the transaction ends. Whoever locks more takes it first.

    Raises:
        ConversationNotFoundError: there is none with that id.
    """
    wanted: Select[Any] = select(conversations).where(conversations.c.id == column_text(conversation_id))
    # SQLite's BEGIN IMMEDIATE holds the whole database already, and SQLAlchemy leaves FOR UPDATE out there.
    row = connection.execute(wanted.with_for_update() if lock else wanted).one_or_none()
    if row is None:
        raise ConversationNotFoundError(
            f"There is no conversation {column_text(conversation_id)[:40]!r}.",
            hint="It may have been deleted in another window: choose one from the list.",
        )
    return row


def switch_row(connection: Connection) -> bool:
    """Whether facts are switched on; nobody else writes facts until the transaction ends."""
    return bool(connection.scalar(select(facts_switch.c.enabled).with_for_update()))
