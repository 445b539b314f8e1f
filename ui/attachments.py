"""Files that a person drops into a chat: they go into a base of that chat, and then the question is asked.

It goes on while pages come and go, and every page that shows the chat finds it here. Does not import Streamlit.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import cast

from langchain_core.messages import AIMessageChunk, BaseMessage

from phireside.agents.assistant import close_bases, knowledge_base
from phireside.chains import Turn
from phireside.chains.turn import Answerer, Needing
from phireside.memory import Conversation, ConversationStore
from phireside.retrieval import KnowledgeBase, base_names
from phireside.retrieval.bases import delete_base
from phireside.retrieval.loading import label
from phireside.retrieval.names import chat_base, chat_of
from phireside.settings import Settings
from phireside.ui.answer_record import FILES
from phireside.ui.background import PATIENCE, Work
from phireside.ui.knowledge_work import Desk, add_uploads

Files = Sequence[tuple[str, bytes]]
Then = Callable[[], Turn | None]
ALL = 1_000_000  # conversations


class Attached:
    """Files on their way into the base of a chat; begins at once.

    Args:
        desk: where the work on bases is done.
        settings: where bases are.
        conversation_id: of the chat.
        files: names, which are labels only, and bytes.
        text: the question; may be empty.
        then: called when files were read, also if not all could be.

    Attributes:
        files, text: see above.
        names: of the files.
        folder: of the base.
        work: how far it is, what could not be read, and how it ended.
        turn: what `then` began.

    Raises:
        KnowledgeError: something is at work on that base.
    """

    def __init__(
        self, desk: Desk, settings: Settings, conversation_id: str, files: Files, text: str, then: Then
    ) -> None:
        self.files, self.text = files, text
        self.names = [label(name) for name, _ in files]
        self.turn: Turn | None = None
        name = chat_base(conversation_id)
        self.folder = settings.bases_dir / name

        def opened(say: Callable[[str], None]) -> KnowledgeBase:
            return desk.loaded(knowledge_base(name, settings, create=True), settings.embeddings, say)

        def do(work: Work) -> str:
            line = add_uploads(files, opened)(work)
            if len(work.failed) == len(files):
                raise work.failed.pop()[1]
            self.turn = then()
            return line

        title = f"Reading {len(files)} file{'' if len(files) == 1 else 's'}"
        self.work = desk.begin(self.folder, title, do)


class Naming:
    """An `Answerer` that keeps with the answer which files came with the question; see `answer_record.files_with`.

    Args:
        answerer: who answers.
        names: of the files.
    """

    def __init__(self, answerer: Answerer, names: Sequence[str]) -> None:
        self._answerer, self._names = answerer, list(names)

    def needs(self, room: int) -> dict[str, int]:
        """See `Needing`."""
        return self._answerer.needs(room) if isinstance(self._answerer, Needing) else {}

    async def answer(self, messages: Sequence[BaseMessage], turn: Turn) -> AsyncIterator[AIMessageChunk]:
        """See `Answerer`."""
        turn.note({"kind": FILES, "names": self._names})
        chunks = cast("AsyncGenerator[AIMessageChunk, None]", self._answerer.answer(messages, turn))
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk


_now: dict[str, Attached] = {}  # by conversation


def attach(desk: Desk, settings: Settings, conversation_id: str, files: Files, text: str, then: Then) -> Attached:
    """See `Attached`."""
    found = _now[conversation_id] = Attached(desk, settings, conversation_id, files, text, then)
    return found


def attached(conversation_id: str) -> Attached | None:
    """What is on its way into a chat, or has ended and was not yet taken."""
    return _now.get(conversation_id)


def take(conversation_id: str) -> Attached | None:
    """What has ended; the first page that asks gets it."""
    found = _now.get(conversation_id)
    return _now.pop(conversation_id, None) if found is not None and found.work.ended else None


def forget_attached() -> None:
    """Forget files that were on their way into a base that is not there any more: they were erased with it."""
    for conversation_id, found in list(_now.items()):
        if found.work.ended and not found.folder.exists():
            _now.pop(conversation_id, None)


def forget_files(desk: Desk, settings: Settings, store: ConversationStore, conversation: Conversation) -> None:
    """Delete the files of a chat that was deleted, unless another one (a branch of it) answers from them."""
    if found := _now.pop(conversation.id, None):
        found.work.stop()
        found.work.wait(PATIENCE)
    there = set(base_names(settings.bases_dir)) & {chat_base(conversation.id), conversation.options.get("base")}
    used = {each.options.get("base") for each in store.list(limit=ALL)} if there else set()
    for name in there - used:
        if chat_of(name):
            close_bases(name, folder=settings.bases_dir)
            delete_base(name, settings.bases_dir)
            desk.forget(settings.bases_dir / name)
