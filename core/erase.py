"""Erases what Phireside keeps, one kind or all of it. What is open is closed first, and the app goes on afterwards.

The database's files are written anew, so nothing of a deleted chat or fact is in them. Files are deleted as the system
deletes them: a disk that is not encrypted may hold their bytes until it needs the space. What this does not reach:
backups, what a model's server was sent, documents where they came from, other programs' models.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url

from phireside.chains import Chat
from phireside.errors import PhiresideError, RequestError, StoreError
from phireside.memory import ConversationStore
from phireside.memory.remembered import MOST
from phireside.models.downloads import Downloads
from phireside.models.found import GGUF_FILES
from phireside.models.runtime import close_all, forget_state
from phireside.retrieval import base_names
from phireside.retrieval.names import chat_of
from phireside.settings import Settings

log = logging.getLogger(__name__)

EVERYTHING = "everything"
COMMON = ("states", "downloads")  # kinds that all people of an app with a login share
_TURN_SECONDS, _DOWNLOAD_SECONDS = 30.0, 40.0  # that an answer, a download may take to end
_ALL = 2**31 - 1  # conversations


@dataclass(frozen=True)
class Kind:
    """Something that is kept, and that can be erased by itself.

    Attributes:
        name: one word, which a person types to confirm.
        title: for a heading.
        holds: what it has, in a sentence.
        after: what is different when it is gone.
    """

    name: str
    title: str
    holds: str
    after: str


KINDS = (
    Kind(
        "conversations",
        "Conversations",
        "All chats, their summaries, and the files that were dropped into them.",
        "Facts that were learned from them stay, and so do models and bases.",
    ),
    Kind("facts", "Facts about you", "What is on the Memory page.", "The chats in which you said it stay."),
    Kind(
        "bases",
        "Bases of documents",
        "The text of your documents, cut into pieces to be searched, and their embeddings.",
        "The files and pages that they were made from stay where they are; uploaded ones were only here.",
    ),
    Kind(
        "states",
        "KV states",
        "What models kept on disk of prompts that they have read. They are a cache.",
        "Loaded models are unloaded, and each chat is read once more when it goes on.",
    ),
    Kind(
        "downloads",
        "Models",
        "The models folder: what was downloaded, and what you put there.",
        "The starter stays, as do models of other programs. Everything else has to be downloaded again.",
    ),
    Kind("runs", "Runs", "Results of scenarios and of evaluations.", "The scenarios themselves stay."),
    Kind(
        "scenarios",
        "Your scenarios",
        "The scenario files that you put into the data folder, or saved from chats.",
        "Those that come with Phireside stay, and so do the results of runs.",
    ),
    Kind(
        "approvals",
        "Approvals of MCP servers",
        "Which servers may be started, and which of their tools may be used.",
        "You are asked anew before one is used.",
    ),
)


@dataclass(frozen=True)
class Stored:
    """How much there is of a kind: things, and bytes on this machine (None = they are on a database server)."""

    kind: Kind
    count: int
    bytes: int | None


class Eraser:
    """Looks at what is kept, and erases it.

    Args:
        settings: where it is kept.
        store: the conversations and facts.
        chat: its answers are stopped first.
        downloads: are stopped before the models folder is emptied.
        close: called before files are deleted; close bases, agents and whatever else holds them open.
        shared: others use this process, too: models stay loaded, and of the models' caches only what is kept of the
            erased conversations goes.
        common: whether the kinds of `COMMON` can be erased from here.

    Attributes:
        kinds: that can be erased from here.
    """

    def __init__(
        self,
        settings: Settings,
        store: ConversationStore,
        chat: Chat,
        downloads: Downloads,
        close: Sequence[Callable[[], object]] = (),
        *,
        shared: bool = False,
        common: bool = True,
    ) -> None:
        self._settings, self._store, self._chat, self._downloads = settings, store, chat, downloads
        self._close, self._shared = close, shared
        self.kinds = tuple(kind for kind in KINDS if common or kind.name not in COMMON)
        every: dict[str, Callable[[], object]] = {
            "conversations": self._conversations,
            "facts": self._facts,
            "bases": self._bases,
            "states": self._states,
            "downloads": self._models,
            "runs": lambda: _empty(settings.runs_dir),
            "scenarios": lambda: _empty(settings.scenarios_dir),
            "approvals": lambda: _unlink(settings.mcp_approvals),
        }
        self._erase = {kind.name: every[kind.name] for kind in self.kinds}

    def stored(self) -> list[Stored]:
        """How much there is of each of the kinds, in the order of `KINDS`."""
        settings, facts = self._settings, len(self._store.facts.list(limit=MOST))
        folders = {"bases": settings.bases_dir, "states": settings.state_dir, "downloads": settings.models_dir}
        folders |= {"runs": settings.runs_dir, "scenarios": settings.scenarios_dir}
        approvals = settings.mcp_approvals
        found = {
            "conversations": (self._store.whole.count(), self._database_bytes()),
            "facts": (facts, None if self.on_server else 0),
            "approvals": (int(approvals.exists()), _size([approvals])),
            **{name: (_count(name, folder), _size([folder])) for name, folder in folders.items()},
        }
        return [Stored(kind, *found[kind.name]) for kind in self.kinds]

    @property
    def on_server(self) -> bool:
        """Whether conversations and facts are in a database that is no file of ours."""
        return self._settings.conversations_url.partition(":")[0].partition("+")[0] != "sqlite"

    def others(self) -> list[str]:
        """What else lies in the data folder; it is not erased, because it may be somebody else's."""
        ours = {"conversations.db", "conversations.db-wal", "conversations.db-shm", "bases", "kv", "models"}
        ours |= {"runs", "scenarios", self._settings.model_hashes.name, self._settings.mcp_approvals.name}
        with suppress(OSError):
            return sorted(each.name for each in self._settings.data_dir.iterdir() if each.name not in ours)
        return []

    def erase(self, name: str) -> list[PhiresideError]:
        """Erase a kind, or everything.

        Args:
            name: of a kind, or `EVERYTHING`.

        Returns:
            What could not be erased and why; the rest is gone.

        Raises:
            RequestError: there is no such kind.
        """
        if name != EVERYTHING and name not in self._erase:
            raise RequestError(f"There is nothing called {name[:80]!r}.", hint=f"Choose of {', '.join(self._erase)}.")
        problems = []
        for kind in self._erase if name == EVERYTHING else [name]:
            try:
                self._erase[kind]()
            except PhiresideError as error:
                log.warning("Erasing %s: %s", kind, error)
                problems.append(error)
        return problems

    def _conversations(self) -> None:
        """The models' caches go with them: they hold the same texts."""
        states = self._stop_turns()
        self._close_files()
        self._store.whole.delete()
        self._forget_states(states)
        _empty(self._settings.bases_dir, lambda path: bool(chat_of(path.name)))  # files that were dropped into them

    def _facts(self) -> None:
        self._stop_turns()
        self._store.facts.forget_all()

    def _bases(self) -> None:
        states = self._stop_turns()
        self._close_files()
        _empty(self._settings.bases_dir)
        self._forget_states(states)  # passages were in prompts

    def _states(self) -> None:
        self._stop_turns()
        self._close_files()
        close_all()
        _empty(self._settings.state_dir)

    def _models(self) -> None:
        self._stop_turns()
        stopped = self._downloads.stop_all(_DOWNLOAD_SECONDS)
        self._close_files()
        close_all()
        _empty(self._settings.models_dir)
        _unlink(self._settings.model_hashes)
        if not stopped:
            raise RequestError("A download has not ended yet.", hint="Wait a minute, and erase the models again.")

    def _close_files(self) -> None:
        """Engines write their KV state when they are closed, so that comes before it is erased."""
        for close in self._close:
            close()
        if not self._shared:
            close_all()

    def _forget_states(self, names: Iterable[str]) -> None:
        """Drop the KV states of conversations; all there are, if they are one person's."""
        if not self._shared:
            _empty(self._settings.state_dir)
            return
        for name in names:
            forget_state(name, self._settings.state_dir)

    def _stop_turns(self) -> list[str]:
        """End all answers, what was written so far being saved, and what is made of them in the background.

        Returns:
            The ids of all conversations.
        """
        names = [conversation.id for conversation in self._store.list(limit=_ALL)]
        turns = [turn for turn in map(self._chat.running, names) if turn]
        deadline = time.monotonic() + _TURN_SECONDS
        for turn in turns:
            turn.stop()
        for turn in turns:
            while not turn.wait(1.0) and time.monotonic() < deadline:
                pass
        for name in names:
            self._chat.settle(name, max(0.1, deadline - time.monotonic()))
        return names

    def _database_bytes(self) -> int | None:
        if self.on_server:
            return None
        name = make_url(self._settings.conversations_url).database
        return _size([Path(name), Path(f"{name}-wal")]) if name else 0  # without one it is in memory


def _count(name: str, folder: Path) -> int:
    if name == "bases":
        return len(base_names(folder))
    pattern = {"states": "*.kv", "downloads": GGUF_FILES, "runs": "*.json", "scenarios": "*.y*ml"}[name]
    return sum(1 for path in _files(folder) if path.match(pattern))


def _files(place: Path) -> Iterator[Path]:
    """All files below a folder, or the file itself. What goes away meanwhile is passed over."""
    if place.is_dir():
        with suppress(OSError):
            yield from (path for path in place.rglob("*") if path.is_symlink() or path.is_file())
    elif place.is_file():
        yield place


def _size(places: Iterable[Path]) -> int:
    total = 0
    for place in places:
        for path in _files(place):
            with suppress(OSError):
                total += path.lstat().st_size
    return total


def _empty(folder: Path, wanted: Callable[[Path], bool] = lambda _: True) -> None:
    """Delete what is in a folder. A link is deleted, and not what it leads to.

    Raises:
        StoreError: something of it cannot be deleted; the rest is.
    """
    failed = []
    try:
        children = [path for path in folder.iterdir() if wanted(path)]
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refused(error, 1) from error
    for child in children:
        try:
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink(missing_ok=True)
        except OSError as error:
            failed.append(error)
    if failed:
        raise _refused(failed[0], len(failed))


def _unlink(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(error, 1) from error


def _refused(error: OSError, count: int) -> StoreError:
    more = f", and {count - 1} more" if count > 1 else ""
    return StoreError(
        f"{error.filename} cannot be deleted: {error.strerror or error}{more}.",
        hint="Check your rights to it, or close the program that uses it; then erase once more.",
    )
