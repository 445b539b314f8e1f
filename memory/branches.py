"""A conversation that goes another way from some message on: a copy of its beginning, and of what was made of that.

Works within the caller's transaction. Knows no titles and options.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Label, String, Table, case, literal, select, true

from phireside.memory import states
from phireside.memory.schema import conversation_facts, forgotten_facts, messages


def copy_beginning(connection: Connection, source: str, target: str, count: int, spoken: int) -> None:
    """Give a new conversation the first messages of another, its summary of them, and the facts that its prompts have.

    What the person has forgotten or corrected stays so: in messages where facts were looked for already they are not
    looked for again, and the places where the others say what was forgotten are noted for the copy, too.

    Args:
        connection: has the rows of the first conversation and of the facts' switch.
        source, target: ids of two conversations.
        count: how many messages.
        spoken: how many of them are no system messages; see `MemoryState.covered`.
    """
    said = messages.c
    _copy(connection, messages, source, target, [said.position, said.payload, said.folded_text], said.position < count)
    noted = forgotten_facts.c
    places = [noted.position, noted.first, noted.length]
    _copy(connection, forgotten_facts, source, target, places, noted.position < count)
    kept = conversation_facts.c
    looked = case((kept.looked > count, count), else_=kept.looked).label("looked")
    _copy(connection, conversation_facts, source, target, [looked, kept.chosen], true())
    if (state := states.newest(connection, source, spoken)).covered:
        states.add(connection, target, state)


def _copy(
    connection: Connection,
    table: Table,
    source: str,
    target: str,
    columns: Sequence[Column[Any] | Label[Any]],
    which: ColumnElement[bool],
) -> None:
    rows = select(literal(target, String), *columns).where(table.c.conversation_id == source, which)
    names = ["conversation_id", *(column.name for column in columns)]
    connection.execute(table.insert().from_select(names, rows))
