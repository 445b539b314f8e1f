"""The tables of the conversation store. No queries, no connections: only what lies where.

A message's payload is JSON text in LangChain's own form (`message_to_dict`). It is `Text`, not a JSON column:
PostgreSQL's `jsonb` refuses NUL characters and reorders keys, and nothing is ever asked of its inside.
"""

from datetime import UTC, datetime
from typing import TypeAlias

from sqlalchemy import (
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

SCHEMA_VERSION = 2  # 1: no memory_states

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept as UTC without a zone, because SQLite has no type for one."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To UTC, zone dropped."""
        return value and value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Back to an aware datetime in UTC."""
        return value and value.replace(tzinfo=UTC)


metadata = MetaData()

schema_version = Table("phireside_schema", metadata, Column("version", Integer, nullable=False))

conversations = Table(
    "conversations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("title", Text, nullable=False),
    Column("folded_title", Text, nullable=False),  # see encoding.fold: what the search reads
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False, index=True),
    Column("options", Text, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("conversation_id", ForeignKey(conversations.c.id, ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("payload", Text, nullable=False),
    Column("folded_text", Text, nullable=False),
    UniqueConstraint("conversation_id", "position"),
)

memory_states = Table(
    "memory_states",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("conversation_id", ForeignKey(conversations.c.id, ondelete="CASCADE"), nullable=False),
    Column("covered", Integer, nullable=False),  # messages, system messages not counted
    Column("summary", Text, nullable=False),
    Column("facts", Text, nullable=False),  # JSON list
    UniqueConstraint("conversation_id", "covered"),
)
