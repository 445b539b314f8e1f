"""A knowledge base: documents in chunks, to be searched, in one folder.

How chunks are kept and searched is in store.py; this adds documents to them: files, folders, pages, uploads and texts.
Knows no language model.
"""

import builtins
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from phireside.errors import KnowledgeError
from phireside.retrieval import documents as rows
from phireside.retrieval.adding import Adder, Item, Report, file_items, files_below, gone, text_item
from phireside.retrieval.chunking import Chunking
from phireside.retrieval.documents import DocumentInfo, digest
from phireside.retrieval.loading import label, load_bytes, load_page
from phireside.retrieval.names import base_folder, base_names, offered_bases
from phireside.retrieval.reindexing import Progress, reindex
from phireside.retrieval.store import ChunkStore
from phireside.retrieval.values import to_json
from phireside.text import clean_text

_DEFAULT_CHUNKING = Chunking()


class KnowledgeBase(ChunkStore):
    """The base in a folder; created when it is missing. Close it when done; use one for all threads.

    Args:
        path, embeddings: as for `ChunkStore`.
        chunking: how documents that are added are cut. Documents that were cut otherwise count as changed.
    """

    def __init__(self, path: Path, embeddings: Embeddings, *, chunking: Chunking = _DEFAULT_CHUNKING) -> None:
        super().__init__(path, embeddings)
        self._adder = Adder(self._database, self._embedder, self._guard, chunking)

    @classmethod
    def named(
        cls,
        name: str,
        folder: Path,
        embeddings: Embeddings,
        *,
        create: bool = False,
        chunking: Chunking = _DEFAULT_CHUNKING,
    ) -> Self:
        """The base of a name, in a folder of bases (`settings.bases_dir`).

        Args:
            name: 1 to 64 letters, digits, spaces, and `_ . -`, beginning with a letter or digit.
            folder: in which each base has a folder of its own.
            embeddings, chunking: as for the class.
            create: whether to make it if there is none. Without it a misspelled name is an error and no new base.

        Raises:
            KnowledgeError: the name cannot be one, or there is no such base.
        """
        place = base_folder(name, folder)
        if not create and name not in base_names(folder):
            names = offered_bases(folder)
            known = f"; there are: {', '.join(names)}" if names else ""
            raise KnowledgeError(f"There is no base {name!r}{known}.", hint="Pass create=True to make one.")
        return cls(place, embeddings, chunking=chunking)

    @property
    def chunking(self) -> Chunking:
        """How documents that are added are cut."""
        return self._adder.chunking

    def add_file(self, path: Path, metadata: Mapping[str, Any] | None = None) -> Report:
        """Add one file, if it is new or changed.

        Args:
            path: a file of a kind that `phireside.retrieval.KINDS` lists.
            metadata: JSON values that every chunk of it is to have; another one is a change.

        Raises:
            DocumentError, KnowledgeError: it cannot be read.
        """
        return self._one(next(file_items([Path(path)], metadata or {})))

    def add_files(
        self, paths: Iterable[Path], metadata: Mapping[str, Any] | None = None, progress: Progress | None = None
    ) -> Report:
        """Add the files that are new or changed; those that cannot be read are in the report.

        Args:
            paths: files.
            metadata: as for `add_file`.
            progress: called after each document with done, total, source.
        """
        return self.add_items(file_items(map(Path, paths), metadata or {}), progress)

    def add_folder(
        self, folder: Path, metadata: Mapping[str, Any] | None = None, progress: Progress | None = None
    ) -> Report:
        """Make the base have what a folder and its folders have: add new files, replace changed, remove deleted ones.

        Args:
            folder: names with a dot before them, and kinds that cannot be loaded, are left out.
            metadata, progress: as for `add_files`.
        """
        folder = Path(folder)
        files, unread = files_below(folder)
        report = self.add_items(file_items(files, metadata or {}), progress)
        with self._database.reading() as connection:
            known = [source for (source,) in connection.execute("SELECT source FROM documents WHERE size >= 0")]
        lost = gone(known, folder, files, [source for source, _ in unread])
        removed = sum(self.remove(source) for source in lost)
        return Report(
            report.added, report.changed, report.unchanged, removed, (*report.failed, *unread), report.documents
        )

    def add_text(
        self, text: str, *, source: str = "", title: str = "", metadata: Mapping[str, Any] | None = None
    ) -> Report:
        """Add a text, in place of the one that was added with the same source.

        Args:
            text: at least one character that is not white space.
            source: what it is known by; empty = "text:" and a hash of it.
            title: its title.
            metadata: as for `add_file`.
        """
        return self._one(text_item(text, source, title, metadata or {}))

    def add_page(self, url: str, metadata: Mapping[str, Any] | None = None) -> Report:
        """Fetch a page from the web and add what it says, if that is new or changed."""
        loaded = load_page(url)
        found = digest(repr((loaded.title, loaded.text)).encode("utf-8", "replace"))
        return self._one(Item(clean_text(url), lambda: loaded, lambda: found, None, to_json(metadata or {})))

    def add_upload(self, name: str, data: bytes, metadata: Mapping[str, Any] | None = None) -> Report:
        """Add a file that somebody sent. It is known by a hash of its bytes; the name is only a label.

        Args:
            name: its suffix says what kind it is.
            data: its bytes, which are not kept.
            metadata: as for `add_file`.
        """
        found = digest(data)
        own = to_json({"name": label(name), **(metadata or {})})
        return self._one(Item(f"upload:{found}", lambda: load_bytes(name, data), lambda: found, None, own))

    def add_items(self, items: Iterable[Item], progress: Progress | None = None) -> Report:
        """Add documents of any origin together; those that cannot be read are in the report.

        Args:
            items: see `phireside.retrieval.adding`.
            progress: as for `add_files`.
        """
        report = self._adder.add(items, progress)
        self._scrub()
        self.write_index()
        return report

    def remove(self, source: str) -> bool:
        """Remove the document from a source; whether there was one."""
        with self._database.writing() as connection:
            sql = "DELETE FROM documents WHERE source = ?"
            there = connection.execute(sql, (clean_text(source),)).rowcount > 0
        self._scrub()
        return there

    def documents(self) -> builtins.list[DocumentInfo]:
        """All documents, ordered by source. Texts that were added by `add_texts` belong to none."""
        with self._database.reading() as connection:
            return rows.infos(connection)

    def chunks(self, document: str) -> builtins.list[Document]:
        """The chunks of a document (its id), in order."""
        with self._database.reading() as connection:
            return rows.chunks_of(connection, clean_text(document))

    def reindex(self, progress: Progress | None = None) -> int:
        """Embed every chunk anew with this base's model, which may be another than before; how many there were.

        Until the end the old vectors are searched. If it is interrupted, the next call goes on from there.
        """
        done = reindex(self._database, self._embedder, progress)
        self.write_index()
        return done

    def _one(self, item: Item) -> Report:
        report = self.add_items([item])
        for _, error in report.failed:
            raise error
        return report
