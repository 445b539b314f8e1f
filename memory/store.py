"""Conversations and their messages, in SQLite or PostgreSQL.

A turn is saved in one transaction: all of its messages are there, or none. Many threads, processes and pages may use
one database at once. Knows nothing of models and of what is sent to them.
"""

import builtins
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from sqlalchemy import ColumnElement, Connection, Row, and_, func, or_, select

from phireside.errors import StoreError
from phireside.memory import branches, export, forgotten, remembered, states
from phireside.memory.database import Database
from phireside.memory.encoding import (
    column_text,
    fold,
    from_json,
    message_from_json,
    message_to_data,
    to_json,
)
from phireside.memory.remembered import FactStore
from phireside.memory.rows import conversation_row, switch_row
from phireside.memory.schema import JSON, OURS, conversations, messages
from phireside.memory.state import MemoryState
from phireside.memory.whole import WholeStore

TITLE_LENGTH = 60  # characters of a title that we make; one given by a person may have MAX_TITLE_LENGTH
MAX_TITLE_LENGTH = 200
BRANCH = " (branch)"  # behind the title of one


@dataclass(frozen=True)
class Conversation:
    """A conversation without its messages.

    Attributes:
        id: 32 hexadecimal digits.
        title: one line of text; empty until the first user message is saved.
        created_at: when it was created, in UTC.
        updated_at: when a turn was last saved, in UTC.
        options: what `create` and `set_options` were given: model, system prompt, preset, …
    """

    id: str
    title: str
    created_at: datetime
    updated_at: datetime
    options: dict[str, JSON]


class ConversationStore:
    """The conversations of one database. Close it when done; use one for all threads.

    Args:
        url: `sqlite:////path/to/file.db` (created with its folder if missing), `sqlite://` (in memory) or
            `postgresql://user:password@host/database`.

    Attributes:
        facts: what the person stated about themselves, for all conversations; off in a new database.
        whole: all conversations at once.

    Raises:
        StoreError: here and in every method: the database cannot be opened, read or written; the hint says what to do.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self.facts, self.whole = FactStore(self._database), WholeStore(self._database)

    def create(self, title: str = "", **options: JSON) -> Conversation:
        """A new, empty conversation. Without a title it gets one from its first user message."""
        with self._database.writing() as connection:
            return _conversation(_new(connection, _one_line(title), to_json(options)))

    def list(self, query: str = "", limit: int = 200) -> builtins.list[Conversation]:
        """The conversations with the newest turns first.

        Args:
            query: a piece of the title or of a message's text, blind to upper and lower case; empty = all.
            limit: most conversations returned.
        """
        wanted = select(conversations).order_by(
            conversations.c.updated_at.desc(), conversations.c.created_at.desc(), conversations.c.id
        )
        needle = fold(query)
        if needle:
            in_text = (
                select(messages.c.id)
                .where(messages.c.conversation_id == conversations.c.id, self._contains(messages.c.folded_text, needle))
                .exists()
            )
            wanted = wanted.where(or_(self._contains(conversations.c.folded_title, needle), in_text))
        with self._database.reading() as connection:
            return [_conversation(row) for row in connection.execute(wanted.limit(limit))]

    def get(self, conversation_id: str) -> Conversation:
        """One conversation.

        Raises:
            ConversationNotFoundError: there is none with that id (any longer). So do all methods below.
        """
        with self._database.reading() as connection:
            return _conversation(conversation_row(connection, conversation_id))

    def messages(self, conversation_id: str) -> builtins.list[BaseMessage]:
        """All messages, in order."""
        with self._database.reading() as connection:
            return _messages(connection, conversation_row(connection, conversation_id).id)

    def save_turn(
        self,
        conversation_id: str,
        messages: Sequence[BaseMessage],
        *,
        at: int | None = None,
        expected: int | None = None,
    ) -> None:
        """Append messages in one transaction, or put them in the place of older ones.

        Args:
            conversation_id: the conversation.
            messages: the turn: a user message, the answer, and tool calls and results between them.
            at: position (0-based) from which on older messages are replaced (edit, regenerate); None = append.
            expected: messages that the conversation had when this was decided; None = however many there are.

        Raises:
            StoreError: `at` is outside of 0 … number of messages, that number is not `expected`, or a message is of a
                kind that cannot be saved.
        """
        records = [_record(message) for message in messages]
        with self._database.writing() as connection:
            row = conversation_row(connection, conversation_id, lock=True)
            before = [] if at is None else _messages(connection, row.id)
            start = _make_room(connection, row.id, at, expected, records)
            if at is not None:
                states.forget(connection, row.id, _spoken(before[:at]))
            title = row.title
            if title in ("", default_title(before)):
                title = default_title([*before[:at], *messages])
            _insert(connection, row.id, start, records)
            _update(connection, row.id, title=title, folded_title=fold(title), updated_at=datetime.now(UTC))
        if at is not None and at < len(before):
            self._database.try_scrub()

    def memory_state(self, conversation_id: str, *, at: int | None = None) -> MemoryState:
        """What a memory last made of the conversation; the empty state if nothing.

        Args:
            conversation_id: the conversation.
            at: position from which messages are about to be replaced: then of those before it only.
        """
        with self._database.reading() as connection:
            row = conversation_row(connection, conversation_id)
            covered = None if at is None else _spoken(_messages(connection, row.id)[:at])
            return states.newest(connection, row.id, covered)

    def save_memory_state(
        self,
        conversation_id: str,
        state: MemoryState,
        *,
        as_of: datetime | None = None,
        before: MemoryState | None = None,
    ) -> MemoryState:
        """Keep a state beside the conversation, until messages that it covers are replaced.

        Args:
            conversation_id: the conversation.
            state: what a memory made of it.
            as_of: `updated_at` of the conversation that it was made of; None = it is not checked.
            before: the state that it goes on from; None = it is not checked.

        Returns:
            The state as it is kept: without facts that the person has forgotten or corrected.

        Raises:
            StoreError: turns were saved since then, `before` is no longer in force (a fact of it was forgotten), or
                it covers more messages than there are.
        """
        with self._database.writing() as connection:
            row = conversation_row(connection, conversation_id, lock=True)
            switch_row(connection)
            facts = forgotten.without(connection, row.id, state.facts)
            count = _count(connection, row.id)
            changed = as_of not in (None, row.updated_at) or before not in (None, states.newest(connection, row.id))
            if changed or not 0 < state.covered <= count:
                raise StoreError(
                    f"The summary of {state.covered} messages was not kept: the conversation changed and has {count}.",
                    hint="It was changed in another window; its turns are there, and will be summarised again.",
                )
            states.add(connection, row.id, replace(state, facts=tuple(facts)))
            return states.newest(connection, row.id)

    def rename(self, conversation_id: str, title: str) -> None:
        """Set the title (one line, at most 200 characters); an empty one brings the default title back."""
        with self._database.writing() as connection:
            row = conversation_row(connection, conversation_id, lock=True)
            title = _one_line(title) or default_title(_messages(connection, row.id))
            _update(connection, row.id, title=title, folded_title=fold(title))

    def set_options(self, conversation_id: str, **options: JSON) -> None:
        """Set these options; others stay as they are."""
        with self._database.writing() as connection:
            row = conversation_row(connection, conversation_id, lock=True)
            _update(connection, row.id, options=to_json(_options(row) | options))

    def set_feedback(self, conversation_id: str, position: int, value: int | None) -> None:
        """Keep what the person thinks of an answer, with it: in its `additional_kwargs["phireside"]["feedback"]`.

        Args:
            conversation_id: the conversation.
            position: of the answer.
            value: 1 = good, 0 = bad; None = nothing, or nothing any more.

        Raises:
            StoreError: there is no answer at that position.
        """
        with self._database.writing() as connection:
            row = conversation_row(connection, conversation_id, lock=True)
            mine = and_(messages.c.conversation_id == row.id, messages.c.position == position)
            payload = connection.scalar(select(messages.c.payload).where(mine))
            answer = message_from_json(payload) if payload else None
            if not isinstance(answer, AIMessage):
                raise _nothing_there("answer", position, _count(connection, row.id))
            ours = answer.additional_kwargs.get(OURS)
            known = ours if isinstance(ours, dict) else {}
            answer.additional_kwargs[OURS] = {**known, "feedback": value}
            connection.execute(messages.update().where(mine).values(payload=to_json(message_to_data(answer))))

    def branch(self, conversation_id: str, position: int) -> Conversation:
        """A new conversation that begins like this one, up to a message and with it; options and memory come along.

        Args:
            conversation_id: the conversation; it stays as it is.
            position: of the last message that both have.

        Raises:
            StoreError: there is no message at that position.
        """
        with self._database.writing() as connection:
            row = conversation_row(connection, conversation_id, lock=True)
            switch_row(connection)
            common = _messages(connection, row.id)[: max(0, position + 1)]
            if not 0 <= position < len(common):
                raise _nothing_there("message", position, len(common))
            made = _new(connection, row.title and row.title[: MAX_TITLE_LENGTH - len(BRANCH)] + BRANCH, row.options)
            branches.copy_beginning(connection, row.id, made.id, len(common), _spoken(common))
            return _conversation(made)

    def delete(self, conversation_id: str) -> None:
        """Delete a conversation and its messages. Facts learned from it stay, without their source."""
        with self._database.writing() as connection:
            row = conversation_row(connection, conversation_id, lock=True)
            remembered.replaced(connection, row.id, 0, [])
            connection.execute(conversations.delete().where(conversations.c.id == row.id))
        self._database.try_scrub()

    def export_markdown(self, conversation_id: str) -> str:
        """The conversation to read: title, roles, text; a stopped answer is marked as one."""
        conversation, history, _ = self._whole(conversation_id)
        return export.to_markdown(conversation.title, conversation.created_at, conversation.options, history)

    def export_json(self, conversation_id: str) -> str:
        """The conversation with everything that is stored of it; messages in LangChain's form, its memory as it is."""
        conversation, history, state = self._whole(conversation_id)
        return to_json(
            {
                "format": "phireside-conversation",
                "version": 1,
                "id": conversation.id,
                "title": conversation.title,
                "created_at": conversation.created_at.isoformat(),
                "updated_at": conversation.updated_at.isoformat(),
                "options": conversation.options,
                "messages": [message_to_data(message) for message in history],
                "memory": asdict(state) if state.covered else None,
            },
            indent=2,
        )

    def close(self) -> None:
        """Close the connections. A second call does nothing; any other method then raises StoreError."""
        self._database.close()

    def _whole(self, conversation_id: str) -> tuple[Conversation, builtins.list[BaseMessage], MemoryState]:
        with self._database.reading() as connection:
            row = conversation_row(connection, conversation_id)
            return _conversation(row), _messages(connection, row.id), states.newest(connection, row.id)

    def _contains(self, column: ColumnElement[str], needle: str) -> ColumnElement[bool]:
        # Not LIKE: it has wildcards to escape, and SQLite refuses patterns of more than 50,000 bytes.
        find = func.instr if self._database.is_sqlite else func.strpos
        return find(column, needle) > 0


def default_title(history: Sequence[BaseMessage]) -> str:
    """The first user message in one line, cut at a word border at about 60 characters; empty if there is no text."""
    texts = (_one_line(message.text) for message in history if isinstance(message, HumanMessage))
    text = next(filter(None, texts), "")
    if len(text) <= TITLE_LENGTH:
        return text
    head = text[:TITLE_LENGTH]
    words = head.rpartition(" ")[0]
    # One long word, or a language without spaces, is cut where it is.
    return (words if len(words) > TITLE_LENGTH // 2 else head) + "…"


def _one_line(text: str) -> str:
    return " ".join(column_text(text).split())[:MAX_TITLE_LENGTH]


def _new(connection: Connection, title: str, options: str) -> Row[Any]:
    now, conversation_id = datetime.now(UTC), uuid.uuid4().hex
    row = {"id": conversation_id, "title": title, "folded_title": fold(title), "options": options}
    connection.execute(conversations.insert().values(row | {"created_at": now, "updated_at": now}))
    return conversation_row(connection, conversation_id)


def _nothing_there(what: str, position: int, count: int) -> StoreError:
    return StoreError(
        f"There is no {what} at position {position}: the conversation has {count} messages.",
        hint="It was changed in another window: open it again.",
    )


def _conversation(row: Row[Any]) -> Conversation:
    return Conversation(row.id, row.title, row.created_at, row.updated_at, _options(row))


def _options(row: Row[Any]) -> dict[str, JSON]:
    return cast(dict[str, JSON], from_json(row.options))


def _messages(connection: Connection, conversation_id: str) -> list[BaseMessage]:
    wanted = (
        select(messages.c.payload).where(messages.c.conversation_id == conversation_id).order_by(messages.c.position)
    )
    return [message_from_json(payload) for payload in connection.scalars(wanted)]


def _count(connection: Connection, conversation_id: str) -> int:
    mine = messages.c.conversation_id == conversation_id
    return connection.scalar(select(func.coalesce(func.max(messages.c.position) + 1, 0)).where(mine)) or 0


def _spoken(history: Sequence[BaseMessage]) -> int:
    """How many of these messages a state can cover: system messages are not counted."""
    return sum(not isinstance(message, SystemMessage) for message in history)


def _record(message: BaseMessage) -> dict[str, object]:
    return {"payload": to_json(message_to_data(message)), "folded_text": fold(message.text)}


def _make_room(
    connection: Connection,
    conversation_id: str,
    at: int | None,
    expected: int | None,
    records: Sequence[dict[str, object]],
) -> int:
    """Delete the messages from position `at` on; the position at which the next ones are to be written."""
    count = _count(connection, conversation_id)
    if expected is not None and count != expected:
        raise StoreError(
            f"The conversation has {count} messages now, not {expected}: nothing was replaced.",
            hint="It was changed in another window: open it again.",
        )
    if at is None:
        return count
    if not 0 <= at <= count:
        raise StoreError(
            f"A turn cannot be saved at position {at}: the conversation has {count} messages.",
            hint="It was changed in another window: open it again.",
        )
    remembered.replaced(connection, conversation_id, at, [str(record["payload"]) for record in records])
    mine = messages.c.conversation_id == conversation_id
    connection.execute(messages.delete().where(mine, messages.c.position >= at))
    return at


def _insert(connection: Connection, conversation_id: str, start: int, records: Sequence[dict[str, object]]) -> None:
    rows = [
        record | {"conversation_id": conversation_id, "position": position}
        for position, record in enumerate(records, start)
    ]
    if rows:
        connection.execute(messages.insert(), rows)


def _update(connection: Connection, conversation_id: str, **values: object) -> None:
    connection.execute(conversations.update().where(conversations.c.id == conversation_id).values(**values))
