"""What memories have made of conversations, as rows: one for each of the last compactions of a conversation.

The newest is in force. When messages that it covers are replaced it goes, and the one before it comes back.
"""

from collections.abc import Callable
from typing import cast

from sqlalchemy import Connection, select

from phireside.memory.encoding import column_text, from_json, to_json
from phireside.memory.schema import memory_states
from phireside.memory.state import NOTHING, MemoryState

KEPT = 20  # of a conversation


def newest(connection: Connection, conversation_id: str, covered: int | None = None) -> MemoryState:
    """The state in force, or the newest that covers at most so many messages."""
    mine = memory_states.c.conversation_id == conversation_id
    wanted = select(memory_states).where(mine).order_by(memory_states.c.covered.desc()).limit(1)
    if covered is not None:
        wanted = wanted.where(memory_states.c.covered <= covered)
    row = connection.execute(wanted).one_or_none()
    return MemoryState(row.summary, tuple(cast(list[str], from_json(row.facts))), row.covered) if row else NOTHING


def add(connection: Connection, conversation_id: str, state: MemoryState) -> None:
    """Put a state in force, in the place of those that cover as much or more; drop the oldest beyond `KEPT`."""
    forget(connection, conversation_id, state.covered - 1)
    row = {
        "conversation_id": conversation_id,
        "covered": state.covered,
        "summary": column_text(state.summary),
        "facts": to_json(state.facts),
    }
    connection.execute(memory_states.insert().values(row))
    mine = memory_states.c.conversation_id == conversation_id
    older = select(memory_states.c.covered).where(mine).order_by(memory_states.c.covered.desc()).offset(KEPT).limit(1)
    if (last := connection.scalar(older)) is not None:
        connection.execute(memory_states.delete().where(mine, memory_states.c.covered <= last))


def replace_facts(connection: Connection, same: Callable[[str], bool], text: str | None) -> None:
    """Put a text in the place of the facts that are the same, in all states of all conversations; None = drop them."""
    rows = connection.execute(select(memory_states.c.id, memory_states.c.facts).where(memory_states.c.facts != "[]"))
    for row in rows.all():
        before = cast(list[str], from_json(row.facts))
        after = [text if same(fact) else fact for fact in before]
        if after != before:
            values = {"facts": to_json([fact for fact in dict.fromkeys(after) if fact is not None])}
            connection.execute(memory_states.update().where(memory_states.c.id == row.id).values(values))


def having(connection: Connection, same: Callable[[str], bool]) -> set[str]:
    """The conversations that have a fact that is the same in one of their states."""
    rows = connection.execute(select(memory_states.c.conversation_id, memory_states.c.facts)).all()
    return {row.conversation_id for row in rows if any(map(same, cast(list[str], from_json(row.facts))))}


def forget(connection: Connection, conversation_id: str, covered: int) -> None:
    """Drop the states that cover more than so many messages."""
    mine = memory_states.c.conversation_id == conversation_id
    connection.execute(memory_states.delete().where(mine, memory_states.c.covered > covered))
