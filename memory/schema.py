"""The tables of the conversation store. No queries, no connections: only what lies where.

A message's payload is JSON text in LangChain's own form (`message_to_dict`). It is `Text`, not a JSON column:
PostgreSQL's `jsonb` refuses NUL characters and reorders keys, and nothing is ever asked of its inside.
"""

from datetime import UTC, datetime
from typing import TypeAlias

from sqlalchemy import (
    Boolean,
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

SCHEMA_VERSION = 3  # 1: no memory_states; 2: no facts

OURS = "phireside"  # in an answer's `additional_kwargs`: what is known of it beside its text (`phireside.chains.turn`)

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

# What the person stated about themselves, for all conversations. The source's text is read from `messages`: a copy of
# it would outlive them.
facts = Table(
    "facts",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("text", Text, nullable=False),
    Column("folded_text", Text, nullable=False),
    Column("conversation_id", ForeignKey(conversations.c.id, ondelete="SET NULL"), index=True),
    Column("position", Integer),  # NULL: the message was replaced, or its conversation deleted
    Column("created_at", UtcDateTime, nullable=False),
    Column("edited", Boolean, nullable=False),
)

facts_switch = Table("facts_switch", metadata, Column("enabled", Boolean, nullable=False))  # one row

conversation_facts = Table(
    "conversation_facts",
    metadata,
    Column("conversation_id", ForeignKey(conversations.c.id, ondelete="CASCADE"), primary_key=True),
    Column("looked", Integer, nullable=False),  # messages in which facts were looked for
    Column("chosen", Text),  # JSON list of facts' ids that its prompts have; NULL: not chosen yet
)

# Where messages say what the person has forgotten or corrected, so that it is not found there once more. Not what they
# say: that goes with the message. No foreign key, for checking it locks a conversation too late (remembered.py).
forgotten_facts = Table(
    "forgotten_facts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("conversation_id", String(32), nullable=False, index=True),
    Column("position", Integer, nullable=False),  # of the message
    Column("first", Integer, nullable=False),  # character of its folded text, from 1 on
    Column("length", Integer, nullable=False),
)
