"""Downloads that go on in the background, each in a thread of its own; and what they brought is deleted here.

One for all pages of a process: whoever looks sees the same ones. A download that is stopped, or whose process ends, is
gone on with by the next `start`, from the bytes that are kept beside its target (`download.py`).
"""

import logging
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from phireside.errors import DownloadError, EngineBusyError, ModelError, PhiresideError, RequestError
from phireside.models.catalog import Catalog, ModelEntry
from phireside.models.download import part_bytes
from phireside.models.found import list_files
from phireside.models.runtime import close_runtimes, runtimes
from phireside.settings import Settings

log = logging.getLogger(__name__)

State = Literal["running", "stopping", "stopped", "done", "failed"]
_UNDER_WAY = ("running", "stopping")


class _Stopped(Exception):  # noqa: N818 (no error: what a person asked for)
    """Raised out of a transfer between two pieces of it."""


@dataclass
class Download:
    """One download; attributes may be read from any thread.

    Attributes:
        name: as it was asked for.
        hub: "owner/repo/file.gguf".
        state: "stopping" until the next piece arrives, or the server is given up.
        done, total: bytes; 0 until they are known.
        error: why it failed.
    """

    name: str
    hub: str
    state: State = "running"
    done: int = 0
    total: int = 0
    error: PhiresideError | None = None
    _begun: tuple[float, int] | None = field(default=None, repr=False)  # when the first bytes of this time came

    @property
    def under_way(self) -> bool:
        """Whether bytes may still arrive."""
        return self.state in _UNDER_WAY

    @property
    def rate(self) -> float:
        """Bytes per second since it began, or went on."""
        if self._begun is None:
            return 0.0
        seconds = time.monotonic() - self._begun[0]
        return (self.done - self._begun[1]) / seconds if seconds > 0.1 else 0.0

    def progress(self, done: int, total: int) -> None:
        """Note how far it is; raises if it is to stop (used by `Downloads`)."""
        self._begun = self._begun or (time.monotonic(), done)
        self.done, self.total = done, total
        if self.state == "stopping":
            raise _Stopped


class Downloads:
    """All downloads of a process. Thread-safe.

    Args:
        catalog: which models there are.
        settings: where they go.
    """

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._catalog, self._settings = catalog, settings
        self._all: dict[str, Download] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def start(self, name: str) -> Download:
        """Begin a download, or go on with it; one that is under way goes on.

        Args:
            name: of the catalogue, or hf:owner/repo/file.gguf.

        Raises:
            ModelNotFoundError: there is no such model.
            DownloadError: it is none of a hub.
        """
        entry = self._catalog.find(name)
        if entry.hub is None:
            raise DownloadError(f"{entry.name} cannot be downloaded from a hub.", hint="Choose another model.")
        with self._lock:
            known = self._all.get(entry.hub)
            if known and known.under_way:
                known.state = "running"
                return known
            new = self._all[entry.hub] = Download(entry.name, entry.hub, done=self.kept(entry))
            thread = threading.Thread(target=self._run, args=(new,), name=f"download-{entry.name}", daemon=True)
            self._threads[entry.hub] = thread
            thread.start()
        return new

    def stop(self, entry: ModelEntry) -> None:
        """End a download at its next piece; what has arrived is kept."""
        with self._lock:
            known = self._all.get(entry.hub or "")
            if known and known.state == "running":
                known.state = "stopping"

    def of(self, entry: ModelEntry) -> Download | None:
        """The newest download of a model, if this process began one."""
        with self._lock:
            return self._all.get(entry.hub or "")

    def all(self) -> list[Download]:
        """All that this process began, oldest first."""
        with self._lock:
            return list(self._all.values())

    def entries(self) -> list[ModelEntry]:
        """The catalogue's models, and those of which only a part is here."""
        known = self._catalog.entries()
        hubs = {entry.hub for entry in known}
        begun = [each.hub for each in self.all()] + self._unfinished()
        return known + [self._catalog.find(f"hf:{hub}") for hub in dict.fromkeys(begun) if hub not in hubs]

    def kept(self, entry: ModelEntry) -> int:
        """Bytes of an unfinished download that lie on disk, whoever began it."""
        return part_bytes(self._catalog.pull_target(entry.hub)) if entry.hub else 0

    def stop_all(self, seconds: float) -> bool:
        """Stop every download and wait for their ends, at most `seconds`; whether all have ended."""
        with self._lock:
            threads = list(self._threads.values())
            for each in self._all.values():
                each.state = "stopping" if each.state == "running" else each.state
        deadline = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def deletable(self, entry: ModelEntry) -> bool:
        """Whether its file is in the models folder: what other programs and packages brought is theirs."""
        return entry.path is not None and self._settings.models_dir in entry.path.parents

    def delete(self, entry: ModelEntry) -> int:
        """Delete a model from the models folder, with what is kept of an unfinished download and its KV states.

        Returns:
            Bytes that are free now, without those of KV states.

        Raises:
            RequestError: it does not lie there, or is being downloaded.
            EngineBusyError: it is answering.
            ModelError: the file cannot be deleted.
        """
        if (known := self.of(entry)) and known.under_way:
            raise RequestError(f"{entry.name} is being downloaded.", hint="Stop the download first.")
        if entry.path and not self.deletable(entry):
            raise RequestError(
                f"{entry.name} is not in {self._settings.models_dir}, but in {entry.path.parent}.",
                hint="Delete it with the program that brought it.",
            )
        files = self._files(entry)
        freed = sum(file.lstat().st_size for file in files)
        if entry.path:
            states = self._states(entry)
            unload(entry.path)
            for folder in states:
                shutil.rmtree(folder, ignore_errors=True)
        _unlink(files, self._settings.models_dir)
        with self._lock:
            self._all.pop(entry.hub or "", None)
        return freed

    def _unfinished(self) -> list[str]:
        """The hub's names of files of which a part is in the models folder."""
        root = self._settings.models_dir
        names = [part.relative_to(root).with_suffix("").with_suffix("") for part in list_files(root, "*/*/**/*.part")]
        return [name.as_posix() for name in names if name.suffix.lower() == ".gguf"]

    def _files(self, entry: ModelEntry) -> list[Path]:
        """What `delete` deletes; a part file is called after its target."""
        target = self._catalog.pull_target(entry.hub) if entry.hub else entry.path
        parts = [each for each in target.parent.glob("*") if each.name.startswith(f"{target.name}.")] if target else []
        return ([entry.path] if entry.path else []) + [each for each in parts if each.suffix in (".part", ".lock")]

    def _states(self, entry: ModelEntry) -> list[Path]:
        """Folders of the KV states of a model (`runtime.state_folder`); none if nobody knows its hash."""
        with suppress(ModelError):
            sha256 = self._catalog.resolve(entry.name).sha256 or ""
            return [self._settings.state_dir / sha256[:16]] if sha256 else []
        return []

    def _run(self, download: Download) -> None:
        while True:
            state, error = self._attempt(download)
            with self._lock:  # a stop or start of the same moment comes before or after, and is not lost
                if state == "stopped" and download.state == "running":
                    continue  # it was started again just now
                download.error, download.state = error, state
                return

    def _attempt(self, download: Download) -> tuple[State, PhiresideError | None]:
        """How it ended."""
        try:
            self._catalog.pull(download.name, download.progress)
        except _Stopped:
            return "stopped", None
        except PhiresideError as error:
            return "failed", error
        except Exception as error:  # a thread's error would be seen by nobody
            log.exception("A download failed")
            return "failed", DownloadError(f"The download failed: {error!r}.", hint="Try again.")
        return "done", None


def unload(path: Path) -> bool:
    """Free the memory of a model; whether there was any. It is loaded again when it is asked the next time.

    Raises:
        EngineBusyError: it is answering.
    """
    engines = [each.engine for each in runtimes() if each.engine.path.resolve() == path.resolve()]
    busy = sum(stats.running + stats.waiting for stats in (engine.stats() for engine in engines))
    if busy:
        raise EngineBusyError(
            f"{path.name} is at work for {busy} {'request' if busy == 1 else 'requests'}.",
            hint="Wait for the end, or stop the answer in its chat.",
        )
    return close_runtimes(path)


def _unlink(files: list[Path], root: Path) -> None:
    """Delete files, and the folders below `root` that are empty then."""
    try:
        for file in files:
            file.unlink(missing_ok=True)
            for folder in file.parents:
                if root not in folder.parents or any(folder.iterdir()):
                    break
                folder.rmdir()
    except OSError as error:
        raise ModelError(
            f"{error.filename} cannot be deleted: {error.strerror or error}.", hint="Check your rights to its folder."
        ) from error
