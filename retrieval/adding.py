"""Documents into a base: files, folders, pages, uploads and texts, only what is new or changed.

A file whose size and time of change are those of the last visit is not even opened; one with the same bytes is not
read; a text that the base has already is not embedded. Each document is written in a transaction of its own or with a
few others: whatever ends the process, a document is there as it was or as it is, and the next visit goes on from there.
Knows no searching.
"""

import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Any

from phireside.errors import KnowledgeError, PhiresideError
from phireside.retrieval.chunking import Chunking, chunk
from phireside.retrieval.database import Database
from phireside.retrieval.documents import NewChunk, NewDocument, digest, known_vectors, put_document
from phireside.retrieval.embedder import Embedder, Vectors, as_bytes
from phireside.retrieval.loading import KINDS, Loaded, Section, load_file
from phireside.retrieval.reindexing import BATCH, Guard, Progress
from phireside.retrieval.values import to_json
from phireside.text import clean_text

_TITLE, _SOURCE = 300, 4096  # characters, at most: every hit has them with it
_SETTLED = 2_000_000_000  # ns: a file that was written more recently may be written again without its time changing


@dataclass(frozen=True)
class Report:
    """What adding did.

    Attributes:
        added, changed, unchanged, removed: documents.
        failed: source and error of those that could not be read or embedded; what the base had of them is still there.
        documents: ids of those that were added, changed or found unchanged.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: tuple[tuple[str, PhiresideError], ...] = ()
    documents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """A document to be looked at.

    Attributes:
        source: what it is known by.
        load: reads it.
        hash: of its bytes or its text; called before `load`, which is not called where it is the known one.
        path: of a file, whose time and size are compared first.
        metadata: JSON text of what the adder wants in every chunk.
    """

    source: str
    load: Callable[[], Loaded]
    hash: Callable[[], str]
    path: Path | None = None
    metadata: str = "{}"


@dataclass
class _Tally:
    """Counts while it runs."""

    total: int
    progress: Progress | None
    counts: dict[str, int] = field(default_factory=dict)
    failed: list[tuple[str, PhiresideError]] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)

    def add(self, what: str, source: str, error: PhiresideError | None = None) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
        if error is not None:
            self.failed.append((source, error))
        else:
            self.documents.append(document_id(source))
        if self.progress is not None:
            self.progress(sum(self.counts.values()), self.total, source)

    def report(self) -> Report:
        counts = {name: self.counts.get(name, 0) for name in ("added", "changed", "unchanged")}
        return Report(**counts, failed=tuple(self.failed), documents=tuple(self.documents))


class Adder:
    """Adds to one base.

    Args:
        database, embedder, guard: of the base.
        chunking: how documents are cut.
    """

    def __init__(self, database: Database, embedder: Embedder, guard: Guard, chunking: Chunking) -> None:
        self._database, self._embedder, self._guard = database, embedder, guard
        self.chunking = chunking

    def add(self, items: Iterable[Item], progress: Progress | None = None) -> Report:
        """Look at documents and write what is new or changed.

        Raises:
            KnowledgeError: the base cannot be written, or belongs to another model. What was written stays.
        """
        unique = {item.source: item for item in items}
        if long := [source for source in unique if len(source) > _SOURCE]:
            raise KnowledgeError(
                f"A source has {len(long[0])} characters; {_SOURCE} are the most.", hint="Use a shorter one."
            )
        tally = _Tally(len(unique), progress)
        if unique:  # else the model need not be loaded
            self._guard.check()
        batch: list[NewDocument] = []
        for item in unique.values():
            try:
                new = self._new(item)
            except PhiresideError as error:
                tally.add("failed", item.source, error)
                continue
            if new is None:
                tally.add("unchanged", item.source)
                continue
            batch.append(new)
            if sum(len(each.chunks) for each in batch) >= BATCH or len(batch) >= BATCH:
                self._write(batch, tally)
                batch = []
        self._write(batch, tally)
        return tally.report()

    def _new(self, item: Item) -> NewDocument | None:
        """The document as it is now; None if the base has it so."""
        size, modified = stamp(item.path) if item.path else (-1, -1)
        recipe = digest(f"{self.chunking!r}{item.metadata}".encode())
        with self._database.reading() as connection:
            sql = "SELECT hash, recipe, size, modified FROM documents WHERE source = ?"
            known = connection.execute(sql, (item.source,)).fetchone() or ("", "", -1, -1)
        if known[1] == recipe and modified >= 0 and known[2:] == (size, modified):
            return None
        found = item.hash()
        if known[:2] == (found, recipe):
            if known[2:] != (size, modified):
                with self._database.writing() as connection:
                    sql = "UPDATE documents SET size = ?, modified = ? WHERE source = ? AND hash = ?"
                    connection.execute(sql, (size, modified, item.source, found))
            return None
        loaded = item.load()
        return NewDocument(
            item.source,
            clean_text(loaded.title)[:_TITLE],
            loaded.kind,
            found,
            recipe,
            size,
            modified,
            tuple(chunks_of(item.source, loaded, self.chunking, self._embedder.count_tokens, item.metadata)),
        )

    def _write(self, batch: Sequence[NewDocument], tally: _Tally) -> None:
        """All of them, or those that can be embedded."""
        if not batch:
            return
        try:
            done = self._written(batch)
        except _EmbeddingFailedError as failure:
            if len(batch) == 1:
                tally.add("failed", batch[0].source, failure.error)
            else:
                for each in batch:
                    self._write([each], tally)
            return
        for new, what in zip(batch, done, strict=True):
            tally.add(what, new.source)

    def _written(self, batch: Sequence[NewDocument]) -> list[str]:
        while True:
            checked = self._guard.check()
            vectors, fresh = self._embedded(batch)
            with self._database.writing() as connection:
                if self._guard.settle(connection, checked, fresh):
                    return [put_document(connection, new, vectors) for new in batch]

    def _embedded(self, batch: Sequence[NewDocument]) -> tuple[dict[str, bytes], Vectors]:
        """By hash, the vectors of all chunks; and those of them that were made now."""
        texts = {chunk.hash: chunk.embedded for new in batch for chunk in new.chunks}
        with self._database.reading() as connection:
            known = known_vectors(connection, texts)
        missing = [each for each in texts if each not in known]
        try:
            fresh = self._embedder.all_passages([texts[each] for each in missing])
        except KnowledgeError as error:
            raise _EmbeddingFailedError(error) from error
        return known | as_bytes(missing, fresh), fresh


class _EmbeddingFailedError(Exception):
    """Only this may leave a document out; a base that cannot be written ends everything."""

    def __init__(self, error: KnowledgeError) -> None:
        super().__init__(str(error))
        self.error = error


def chunks_of(
    source: str, loaded: Loaded, chunking: Chunking, count: Callable[[str], int], metadata: str = "{}"
) -> Iterator[NewChunk]:
    """A document in chunks. A chunk's id is made of its source and its text, so that it outlives changes elsewhere.

    Args:
        source: of the document.
        loaded: the document.
        chunking: how it is cut.
        count: tokens of a text.
        metadata: JSON text for every chunk.
    """
    document, seen = document_id(source), dict[str, int]()
    for position, each in enumerate(chunk(loaded, chunking, count)):
        text, heading = clean_text(each.text), clean_text(each.heading)
        lead = clean_text(each.before)
        key = digest(f"{lead}\0{text}".encode())[:12]
        seen[key] = seen.get(key, 0) + 1
        again = f"-{seen[key]}" if seen[key] > 1 else ""
        yield NewChunk(
            f"{document}-{key}{again}",
            text,
            metadata,
            lead,
            position,
            each.start,
            each.end,
            heading,
            each.page,
        )


def document_id(source: str) -> str:
    """16 hexadecimal digits, the same for the same source."""
    return digest(source.encode())[:16]


def file_items(paths: Iterable[Path], metadata: Mapping[str, Any]) -> Iterator[Item]:
    """Files as documents, known by their absolute paths."""
    own = to_json(metadata)
    for path in paths:
        yield Item(source_of(path), lambda path=path: load_file(path), lambda path=path: _file_hash(path), path, own)  # type: ignore[misc]


def text_item(text: str, source: str, title: str, metadata: Mapping[str, Any]) -> Item:
    """A text as a document; see `KnowledgeBase.add_text`."""
    if not isinstance(text, str) or not text.strip():
        raise KnowledgeError(f"{text!r:.40} is no text.", hint="Give one with a character that is not white space.")
    text = clean_text(text)
    found = digest(text.encode())
    loaded = Loaded(clean_text(title), "text", (Section(text),))
    key = digest(f"{title}\0{text}".encode("utf-8", "replace"))
    return Item(clean_text(source) or f"text:{found}", lambda: loaded, lambda: key, None, to_json(metadata))


def source_of(path: Path) -> str:
    r"""A path as text, absolute and without ".."; bytes that are no text stand there as \xNN."""
    path = path.absolute()
    if ".." in path.parts:
        path = _straight(path)
    try:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError as error:  # no file can have such a name
        raise _unreadable(path, error) from error


def _straight(path: Path) -> Path:
    """Without "..", if that is the same file: behind a link it would be another."""
    short = Path(os.path.normpath(path))
    try:
        return short if path.samefile(short) else path
    except (OSError, ValueError):
        return path


def files_below(folder: Path) -> tuple[list[Path], list[tuple[str, PhiresideError]]]:
    """The files of a folder and its folders that can be loaded, in order, and which folders could not be read.

    Names with a dot before them are left out, and folders that are links: they may lead in a circle.

    Raises:
        KnowledgeError: there is no such folder. (A drive that is not there must not look like deleted files.)
    """
    if not folder.is_dir():
        raise KnowledgeError(f"{folder} is not a folder.", hint="Check the path; a drive may not be connected.")
    failed: list[tuple[str, PhiresideError]] = []

    def unread(error: OSError) -> None:
        path = Path(error.filename)
        failed.append((source_of(path), KnowledgeError(f"{path} cannot be read: {error.strerror}.")))

    files = [path for path in _walk(folder, unread) if path.suffix.lower() in KINDS]
    return files, failed


def skipped_below(folder: Path) -> Counter[str]:
    """How many files of a folder `files_below` leaves out since their kind cannot be loaded, by their suffixes."""
    suffixes = (path.suffix.lower() for path in _walk(folder, None))
    return Counter(suffix for suffix in suffixes if suffix not in KINDS)


def _walk(folder: Path, unread: Callable[[OSError], None] | None) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, onerror=unread):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def gone(known: Iterable[str], folder: Path, seen: Iterable[Path], unread: Iterable[str]) -> list[str]:
    """Sources below a folder whose files are no longer there.

    Args:
        known: sources of the files that the base has; a text may be called as if it were one.
        folder: that was looked at.
        seen: the files found there.
        unread: folders that could not be looked at; what was below them may still be there.
    """
    below = os.path.join(source_of(folder), "")  # noqa: PTH118 (pathlib drops a separator at the end)
    shut = tuple(os.path.join(each, "") for each in unread)  # noqa: PTH118
    there = {source_of(path) for path in seen}
    return [
        each
        for each in known
        if each.startswith(below) and each not in there and not each.startswith(shut) and not _may_exist(Path(each))
    ]


def _may_exist(path: Path) -> bool:
    """Whether a file is there, or nobody can say: its folder must not be looked into, or its disk does not answer."""
    try:
        return path.exists()
    except OSError:
        return True


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of change in ns; -1 for a time that says nothing, since the file was written just now.

    Raises:
        KnowledgeError: there is no such file, or it cannot be looked at.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):  # a pipe would be waited for, for ever
        raise KnowledgeError(f"{clean_text(str(path))} is no file.", hint="Give the path of a file.")
    settled = time.time_ns() - found.st_mtime_ns > _SETTLED
    return found.st_size, found.st_mtime_ns if settled and found.st_mtime_ns >= 0 else -1


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> KnowledgeError:
    if path.is_dir():
        return KnowledgeError(f"{clean_text(str(path))} is a folder.", hint="add_folder reads it.")
    reason = getattr(error, "strerror", None) or error
    return KnowledgeError(f"{clean_text(str(path))} cannot be read: {reason}.", hint="Check the path and your rights.")
