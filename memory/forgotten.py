"""Where messages say what the person has forgotten or corrected, so that it is not found there once more.

A place in a message is kept, neither the text nor a hash of it, which could be guessed: it says nothing once the
message is gone.
"""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, and_, func, select

from phireside.memory.encoding import fold
from phireside.memory.schema import facts, forgotten_facts, messages

_END = ".! "


def key_of(text: str) -> str:
    """What is equal in two facts that say the same."""
    return fold(text).rstrip(_END)


def mark(connection: Connection, which: ColumnElement[bool]) -> None:
    """Note where messages say these facts. To be called before they are deleted or changed."""
    find = func.instr if connection.dialect.name == "sqlite" else func.strpos
    key = func.rtrim(facts.c.folded_text, _END)
    first = find(messages.c.folded_text, key)
    places = select(messages.c.conversation_id, messages.c.position, first, func.length(key))
    columns = ["conversation_id", "position", "first", "length"]
    said = places.join_from(facts, messages, first > 0).where(which)
    connection.execute(forgotten_facts.insert().from_select(columns, said))


def unmark(connection: Connection, conversation_id: str, position: int) -> None:
    """Drop what is noted of a conversation's messages from a position on."""
    mine = forgotten_facts.c.conversation_id == conversation_id
    connection.execute(forgotten_facts.delete().where(mine, forgotten_facts.c.position >= position))


def without(
    connection: Connection, conversation_id: str, texts: Iterable[str], position: int | None = None
) -> list[str]:
    """The texts but for those that were forgotten or corrected after the conversation's messages said them.

    Args:
        connection: within a transaction that has the switch's row (`switch_row`), so that none is forgotten meanwhile.
        conversation_id: the conversation.
        texts: sentences of its messages.
        position: of the message that says them; None = any.
    """
    noted = forgotten_facts.c
    here = and_(noted.conversation_id == messages.c.conversation_id, noted.position == messages.c.position)
    said = select(func.substr(messages.c.folded_text, noted.first, noted.length)).join_from(
        forgotten_facts, messages, here
    )
    wanted = said.where(messages.c.conversation_id == conversation_id)
    if position is not None:
        wanted = wanted.where(messages.c.position == position)
    gone = set(connection.scalars(wanted))
    return [text for text in texts if key_of(text) not in gone]
