"""Facts that the person stated about themselves, kept for all conversations: learned, searched, edited, forgotten.

Off until the person switches it on. Knows the database, no model and no prompt: `phireside.chains` asks for facts and
puts them into prompts.

Locks are taken in one order, so that no two transactions wait for each other on PostgreSQL: a conversation's row, the
switch's row (held by all who write facts, so that no double slips in), facts, and then what conversations have of them.
"""

import builtins
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, cast

from langchain_core.messages import HumanMessage
from sqlalchemy import Column, ColumnElement, Connection, Row, Select, and_, func, select, true

from phireside.errors import RequestError, StoreError
from phireside.memory import forgotten, states
from phireside.memory.database import Database
from phireside.memory.encoding import column_text, fold, from_json, message_from_json, to_json
from phireside.memory.forgotten import key_of
from phireside.memory.rows import conversation_row, switch_row
from phireside.memory.schema import conversation_facts, conversations, facts, facts_switch, messages

MOST = 200
"""Facts that are kept. When there are so many, nothing is learned until the person forgets some."""
LONGEST = 300
"""Characters of a fact."""


@dataclass(frozen=True)
class Fact:
    """One thing that the person stated about themselves.

    Attributes:
        id: 32 hexadecimal digits.
        text: one line.
        conversation_id: where it was said; None = that conversation was deleted.
        position: of the message that says it; None = that was replaced by another, or deleted.
        source: that message's text; empty if there is none any more.
        created_at: when it was learned, in UTC.
        edited: whether the person has changed the text.
    """

    id: str
    text: str
    conversation_id: str | None
    position: int | None
    source: str
    created_at: datetime
    edited: bool


class FactStore:
    """The facts of one database; `ConversationStore.facts`. Thread-safe.

    Args:
        database: where they are kept.

    Raises:
        StoreError: in every method: the database cannot be read or written.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: builtins.list[Callable[[frozenset[str]], object]] = []

    # ---- for the person ----

    @property
    def enabled(self) -> bool:
        """Whether facts are learned and told to models."""
        with self._database.reading() as connection:
            return _enabled(connection)

    def switch(self, on: bool) -> None:
        """Turn it on or off, for all conversations. What was said while it was off is never looked at."""
        with self._database.writing() as connection:
            if on:
                connection.execute(select(conversations.c.id).order_by(conversations.c.id).with_for_update()).all()
            if switch_row(connection) == on:
                return
            connection.execute(facts_switch.update().values(enabled=on))
            if on:
                _skip_what_was_said(connection)

    def add(self, conversation_id: str, position: int, texts: Sequence[str]) -> builtins.list[Fact]:
        """Keep what a message states. A fact that is known already is not kept again.

        Args:
            conversation_id: where it was said.
            position: of the message.
            texts: facts; of each the first `LONGEST` characters, in one line.

        Returns:
            The new ones. When there are `MOST` facts, no more are added.

        Raises:
            ConversationNotFoundError: there is no such conversation (any longer).
        """
        with self._database.writing() as connection:
            row = conversation_row(connection, conversation_id, lock=True)
            switch_row(connection)
            return _add(connection, row.id, position, texts)

    def list(self, query: str = "", limit: int = 200) -> builtins.list[Fact]:
        """The facts, newest first.

        Args:
            query: words that occur, wholly or as a part of others, in the text or in the source; blind to case.
            limit: most facts returned.
        """
        words = fold(query).split()
        with self._database.reading() as connection:
            rows = connection.execute(_wanted().order_by(facts.c.number.desc())).all()
        found = [row for row in rows if all(word in f"{row.folded_text}\n{row.folded_source or ''}" for word in words)]
        return [_fact(row) for row in found[:limit]]

    def edit(self, fact_id: str, text: str) -> Fact:
        """Correct a fact, also where a conversation's summary has it in its list.

        Args:
            fact_id: the fact.
            text: the new text; of it the first `LONGEST` characters, in one line.

        Raises:
            RequestError: the text says nothing.
            StoreError: there is no such fact (any longer), or another one says the same.
        """
        if not key_of(text := _one_line(text)):
            raise RequestError("A fact needs a text.", hint="To be rid of it, forget it.")
        with self._erasing([fact_id]), self._database.writing() as connection:
            switch_row(connection)
            old = _row(connection, fact_id)
            if key_of(text) in _keys(connection, but=old.id):
                raise StoreError("Another fact says the same already.", hint="Forget one of the two.")
            if key_of(text) != key_of(old.text):
                forgotten.mark(connection, facts.c.id == old.id)
            values = {"text": text, "folded_text": fold(text), "edited": True}
            connection.execute(facts.update().where(facts.c.id == old.id).values(values))
            states.replace_facts(connection, lambda fact: key_of(fact) == key_of(old.text), text)
            return _fact(_row(connection, old.id))

    def forget(self, fact_id: str) -> None:
        """Delete a fact, also where a conversation's summary has it in its list, so that no file has its bytes.

        The messages that say it stay, and it is not learned from them again. A fact that is not there (any longer) is
        no error.

        Args:
            fact_id: the fact.

        Raises:
            StoreError: besides, when it is deleted but another program keeps SQLite's log from being emptied.
        """
        with self._erasing([fact_id]), self._database.writing() as connection:
            switch_row(connection)
            _delete(connection, facts.c.id == column_text(fact_id))

    def forget_all(self) -> int:
        """`forget` all facts; how many there were."""
        with self._erasing(None), self._database.writing() as connection:
            switch_row(connection)
            return _delete(connection, true())

    def watch(self, listener: Callable[[frozenset[str]], object]) -> None:
        """Call this with the conversations whose prompts have a fact, before and after it is edited or forgotten.

        Twice, so that a process that dies in between has not kept it, nor who asked in between.
        """
        self._listeners.append(listener)

    # ---- for the chat ----

    def unheard(self, conversation_id: str) -> builtins.list[tuple[int, str]]:
        """The person's messages in which facts were not looked for yet: position and text. While off, [].

        Raises:
            ConversationNotFoundError: there is no such conversation (any longer). So do the methods below.
        """
        with self._database.reading() as connection:
            if not _enabled(connection):
                return []
            row = conversation_row(connection, conversation_id)
            looked = connection.scalar(_of(row.id, conversation_facts.c.looked)) or 0
            mine = and_(messages.c.conversation_id == row.id, messages.c.position >= looked)
            wanted = select(messages.c.position, messages.c.payload).where(mine).order_by(messages.c.position)
            said = [(position, message_from_json(payload)) for position, payload in connection.execute(wanted)]
            return [(position, message.text) for position, message in said if isinstance(message, HumanMessage)]

    def learned(
        self, conversation_id: str, position: int, texts: Sequence[str], *, as_of: datetime
    ) -> builtins.list[Fact]:
        """`add` what was found in a message, and note that it was looked at; nothing if it was switched off meanwhile.

        Args:
            conversation_id: the conversation.
            position: of the message.
            texts: what was found.
            as_of: `updated_at` of the conversation when the message was read.

        Raises:
            StoreError: turns were saved since then.
        """
        with self._database.writing() as connection:
            row = conversation_row(connection, conversation_id, lock=True)
            if row.updated_at != as_of:
                raise StoreError("The conversation changed meanwhile.", hint="Its facts are looked for again.")
            if not switch_row(connection):
                return []
            _keep(connection, row.id, looked=position + 1)
            return _add(connection, row.id, position, forgotten.without(connection, row.id, texts, position))

    def chosen(self, conversation_id: str) -> builtins.list[Fact] | None:
        """The facts that the conversation's prompts have, as they are now; None = not chosen yet. While off, []."""
        with self._database.reading() as connection:
            row = conversation_row(connection, conversation_id)
            return _chosen(connection, row.id) if _enabled(connection) else []

    def choose(self, conversation_id: str, wanted: Sequence[Fact], *, again: bool = False) -> builtins.list[Fact]:
        """Keep which facts the conversation's prompts have, in this order; what they have now.

        Args:
            conversation_id: the conversation.
            wanted: the facts. One that was forgotten meanwhile is left out.
            again: also if there was a choice already; else that one stays.
        """
        with self._database.writing() as connection:
            row = conversation_row(connection, conversation_id, lock=True)
            if not switch_row(connection):
                return []
            if again or _chosen(connection, row.id) is None:
                _keep(connection, row.id, chosen=to_json([fact.id for fact in wanted]))
            return _chosen(connection, row.id) or []

    @contextmanager
    def _erasing(self, fact_ids: Sequence[str] | None) -> Iterator[None]:
        """Tell those who keep prompts, before and after; then nothing of the old text is in the database's files.

        Args:
            fact_ids: what is edited or forgotten; None = all.
        """
        with self._database.reading() as connection:
            known = connection.execute(select(facts.c.id, facts.c.text)).all()
            keys = {key_of(row.text) for row in known if fact_ids is None or row.id in fact_ids}
            rows = connection.execute(select(conversation_facts).where(conversation_facts.c.chosen.is_not(None)))
            having = {row.conversation_id: set(cast(list[str], from_json(row.chosen))) for row in rows}
            listed = states.having(connection, lambda fact: key_of(fact) in keys)
        told = listed.union(name for name, ids in having.items() if ids and (fact_ids is None or ids & set(fact_ids)))
        for listener in self._listeners:
            listener(frozenset(told))
        yield
        for listener in self._listeners:
            listener(frozenset(told))
        self._database.scrub()


def replaced(connection: Connection, conversation_id: str, at: int, payloads: Sequence[str]) -> None:
    """Facts lose a source that goes. To be called before messages are replaced or deleted.

    A message that is saved again unchanged (regenerate) stays a source, and is not looked at once more: what the
    person has forgotten meanwhile would come back.

    Args:
        connection: within the transaction that replaces them.
        conversation_id: the conversation.
        at: position of the first of them.
        payloads: of the messages that take their place.
    """
    switch_row(connection)
    mine = and_(messages.c.conversation_id == conversation_id, messages.c.position >= at)
    old = connection.scalars(select(messages.c.payload).where(mine).order_by(messages.c.position))
    kept = at + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(old, payloads, strict=False)))
    gone = and_(facts.c.conversation_id == conversation_id, facts.c.position >= kept)
    connection.execute(facts.update().where(gone).values(position=None))
    looked = and_(conversation_facts.c.conversation_id == conversation_id, conversation_facts.c.looked > kept)
    connection.execute(conversation_facts.update().where(looked).values(looked=kept))
    forgotten.unmark(connection, conversation_id, kept)


def _enabled(connection: Connection) -> bool:
    return bool(connection.scalar(select(facts_switch.c.enabled)))


def _wanted() -> Select[Any]:
    source = and_(messages.c.conversation_id == facts.c.conversation_id, messages.c.position == facts.c.position)
    columns = (facts, messages.c.payload, messages.c.folded_text.label("folded_source"))
    return select(*columns).select_from(facts.outerjoin(messages, source))


def _row(connection: Connection, fact_id: str) -> Row[Any]:
    row = connection.execute(_wanted().where(facts.c.id == column_text(fact_id))).one_or_none()
    if row is None:
        raise StoreError(
            f"There is no fact {column_text(fact_id)[:40]!r}.", hint="It may have been forgotten in another window."
        )
    return row


def _fact(row: Row[Any]) -> Fact:
    source = message_from_json(row.payload).text if row.payload else ""
    position = row.position if row.payload else None
    return Fact(row.id, row.text, row.conversation_id, position, source, row.created_at, row.edited)


def _add(connection: Connection, conversation_id: str, position: int, texts: Sequence[str]) -> list[Fact]:
    source = {"conversation_id": conversation_id, "position": position}
    known, added = _keys(connection), []
    for text in map(_one_line, texts):
        key = key_of(text)
        if key in known:  # said again: that is a source for it, if it has none any more
            lost = and_(facts.c.id == known[key], facts.c.position.is_(None))
            connection.execute(facts.update().where(lost).values(source))
        elif key and len(known) < MOST:
            known[key] = uuid.uuid4().hex
            row = {"id": known[key], "text": text, "folded_text": fold(text), "edited": False}
            connection.execute(facts.insert().values(row | source | {"created_at": datetime.now(UTC)}))
            added.append(_fact(_row(connection, known[key])))
    return added


def _delete(connection: Connection, which: ColumnElement[bool]) -> int:
    forgotten.mark(connection, which)
    texts = connection.scalars(select(facts.c.text).where(which)).all()
    keys = set(map(key_of, texts))
    connection.execute(facts.delete().where(which))
    states.replace_facts(connection, lambda fact: key_of(fact) in keys, None)
    return len(texts)


def _keys(connection: Connection, but: str = "") -> dict[str, str]:
    rows = connection.execute(select(facts.c.id, facts.c.text).where(facts.c.id != but))
    return {key_of(row.text): row.id for row in rows}


def _of(conversation_id: str, column: Column[Any]) -> Select[Any]:
    return select(column).where(conversation_facts.c.conversation_id == conversation_id)


def _chosen(connection: Connection, conversation_id: str) -> list[Fact] | None:
    ids = connection.scalar(_of(conversation_id, conversation_facts.c.chosen))
    if ids is None:
        return None
    order = cast(list[str], from_json(ids))
    found = {row.id: _fact(row) for row in connection.execute(_wanted().where(facts.c.id.in_(order)))}
    return [found[fact_id] for fact_id in order if fact_id in found]


def _keep(connection: Connection, conversation_id: str, **values: object) -> None:
    mine = conversation_facts.c.conversation_id == conversation_id
    if not connection.execute(conversation_facts.update().where(mine).values(values)).rowcount:
        row = {"conversation_id": conversation_id, "looked": 0} | values
        connection.execute(conversation_facts.insert().values(row))


def _skip_what_was_said(connection: Connection) -> None:
    said = select(func.coalesce(func.max(messages.c.position) + 1, 0))
    known = conversation_facts.c.conversation_id
    count = said.where(messages.c.conversation_id == known).scalar_subquery()
    connection.execute(conversation_facts.update().values(looked=count))
    count = said.where(messages.c.conversation_id == conversations.c.id).scalar_subquery()
    others = select(conversations.c.id, count).where(conversations.c.id.not_in(select(known)))
    connection.execute(conversation_facts.insert().from_select(["conversation_id", "looked"], others))


def _one_line(text: str) -> str:
    return " ".join(column_text(text).split())[:LONGEST].rstrip()
