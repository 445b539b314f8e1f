"""Work on bases, one at a time for each: what is added, embedded anew, or named. Each function makes one, to be begun.

What is added to a base, and how, the base knows. Does not import Streamlit.
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from langchain_core.language_models import BaseChatModel

from phireside.chains.loop import begin
from phireside.chains.naming import topic_name
from phireside.errors import DocumentError, KnowledgeError
from phireside.retrieval import KnowledgeBase, Report
from phireside.retrieval.adding import skipped_below
from phireside.retrieval.loading import label
from phireside.retrieval.topics import TopicMap, topic_map
from phireside.ui.background import PATIENCE, Do, Work

Say: TypeAlias = Callable[[str], None]
Ready: TypeAlias = Callable[[Say], KnowledgeBase]
"""Gives a base with its embedding model, and is given what to tell if that has to be loaded."""

LOADING = "Loading the embedding model. It takes some seconds, once …"


@dataclass
class Mapped:
    """The map of a base.

    Attributes:
        of: what the base was like: another base of the same name, or the same one after a change, is not equal.
        topics: the map.
        names: what a model calls the topics, as far as it has come.
    """

    of: Hashable
    topics: TopicMap
    names: list[str] = field(default_factory=list)


class Desk:
    """The work on all bases of this process, and their maps."""

    def __init__(self) -> None:
        self._maps: dict[Path, Mapped] = {}
        self._works: dict[Path, Work] = {}
        self._loaded: set[str] = set()
        self._lock = threading.Lock()

    def work(self, folder: Path) -> Work | None:
        """What was last begun on the base in a folder, until it is dismissed."""
        return self._works.get(folder)

    def busy(self, folder: Path) -> bool:
        """Whether something is at work there."""
        work = self.work(folder)
        return work is not None and not work.ended

    def begin(self, folder: Path, title: str, do: Do) -> Work:
        """Begin something on a base.

        Raises:
            KnowledgeError: something is at work there.
        """
        with self._lock:
            if self.busy(folder):
                raise KnowledgeError(f"{folder.name} is being worked on.", hint="Wait for its end, or stop it.")
            work = self._works[folder] = Work(title, do)
        return work

    def dismiss(self, folder: Path) -> None:
        """Forget what has ended there."""
        with self._lock:
            if not self.busy(folder):
                self._works.pop(folder, None)

    def mapped(self, folder: Path, of: Hashable) -> Mapped:
        """The map of the base in a folder; it is made anew when that has changed. Raises as `topic_map`."""
        known = self._maps.get(folder)
        if known is None or known.of != of:
            known = self._maps[folder] = Mapped(of, topic_map(folder))
        return known

    def forget(self, folder: Path) -> None:
        """Forget everything about the base in a folder: it is deleted."""
        self.dismiss(folder)
        self._maps.pop(folder, None)

    def forget_deleted(self) -> None:
        """Forget everything about bases that are not there any more."""
        for folder in {*self._works, *self._maps}:
            if not folder.exists():
                self.forget(folder)

    def loaded(self, base: KnowledgeBase, model: str, say: Say) -> KnowledgeBase:
        """A base whose embedding model is in memory. Loading it takes seconds, the first time, and `say` is told.

        Args:
            base: any.
            model: the name of its model.
            say: is told.

        Raises:
            ModelLoadError: it cannot be loaded.
        """
        if model not in self._loaded:
            say(LOADING)
            base.embeddings.embed_query("warm")
            self._loaded.add(model)
        return base

    def close(self, below: Path | None = None) -> None:
        """Stop everything, or what is done in the bases of one folder, and wait for it a while."""
        works = [work for folder, work in list(self._works.items()) if below in (None, folder.parent)]
        for work in works:
            work.stop()
        for work in works:
            work.wait(PATIENCE)


def add_uploads(files: Sequence[tuple[str, bytes]], ready: Ready) -> Do:
    """Add files that were sent, each for itself: one that cannot be read is among the failed, and the next comes.

    Args:
        files: names, which are labels only, and bytes.
        ready: gives the base.
    """

    def do(work: Work) -> str:
        base, reports = ready(work.say), list[Report]()
        for number, (name, data) in enumerate(files):
            work.progress(number, len(files), name)
            try:
                reports.append(base.add_upload(name, data))
            except (DocumentError, KnowledgeError) as error:
                work.failed.append((label(name), error))
        return _line(_total(reports), len(work.failed))

    return do


def add_path(path: Path, ready: Ready) -> Do:
    """Follow a folder of this machine, or add one file of it."""

    def do(work: Work) -> str:
        base = ready(work.say)
        work.say(f"Looking at {label(path.name)} …")
        if path.is_file():
            report, skipped = base.add_files([path], progress=work.progress), 0
        else:
            report = base.add_folder(path, progress=work.progress)
            skipped = skipped_below(path).total()
        work.failed += report.failed
        return _line(report, len(report.failed), skipped)

    return do


def add_page(url: str, ready: Ready) -> Do:
    """Fetch a page and add it."""

    def do(work: Work) -> str:
        base = ready(work.say)
        work.say("Fetching the page …")
        return _line(base.add_page(url))

    return do


def add_text(text: str, title: str, ready: Ready) -> Do:
    """Add a text that was typed."""
    return lambda work: _line(ready(work.say).add_text(text, title=title))


def reindex(ready: Ready) -> Do:
    """Embed every chunk anew."""

    def do(work: Work) -> str:
        base = ready(work.say)
        count = base.reindex(work.progress)
        return f"{count} {'chunk was' if count == 1 else 'chunks were'} embedded anew."

    return do


def name_topics(mapped: Mapped, model: Callable[[], BaseChatModel]) -> Do:
    """Let a model name the topics of a map, in their order; an empty name = its key words are better.

    Args:
        mapped: takes the names as they come.
        model: gives the model.
    """

    def do(work: Work) -> str:
        work.say("Loading the language model …")
        asked, names = model(), list[str]()
        for number, topic in enumerate(mapped.topics.topics):
            work.progress(number, len(mapped.topics.topics), ", ".join(topic.words[:3]))
            texts = [each.page_content for each in topic.passages]
            names.append(begin(topic_name(topic.words, texts, model=asked, taken=names)).result())
            mapped.names = list(names)
        return f"{sum(map(bool, names))} of {len(names)} have a name; key words stand for the others"

    return do


def _total(reports: Sequence[Report]) -> Report:
    added, changed, unchanged = (sum(getattr(each, name) for each in reports) for name in _COUNTS[:3])
    return Report(added, changed, unchanged)


_COUNTS = ("added", "changed", "unchanged", "removed")


def _line(report: Report, failed: int = 0, skipped: int = 0) -> str:
    """What was done, in words; numbers of nothing are left out."""
    counts = [(getattr(report, name), name) for name in _COUNTS]
    counts += [(failed, "could not be read"), (skipped, "of a kind that is not read")]
    return ", ".join(f"{count} {what}" for count, what in counts if count) or "Nothing to add was found"
