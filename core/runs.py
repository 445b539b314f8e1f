"""What was measured, kept as JSON files in a folder, one for each run. Knows nothing of what is in them.

A file is there when it is whole. One that cannot be used (another program's, cut off, written by hand) is named, and
the others are read. Nothing in a file is run: kinds of runs give a function that checks what is read.
"""

import json
import re
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from phireside.errors import StoreError
from phireside.paths import ensure_dir
from phireside.text import json_text

T = TypeVar("T")

_VERSION = 1
_LARGEST = 50_000_000  # bytes
_BROKEN = (OSError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Kept(Generic[T]):
    """A run that was kept.

    Attributes:
        id: of the run, and its file's name without the ending.
        when: it was kept, in UTC.
        title: what people call it.
        run: what was measured.
    """

    id: str
    when: datetime
    title: str
    run: T


@dataclass(frozen=True)
class Unreadable:
    """A file among the runs that cannot be used.

    Attributes:
        file: its name.
        reason: why.
    """

    file: str
    reason: str


class Runs(Generic[T]):
    """The runs of one kind in a folder, which is made with the first. Several programs may use it at once.

    Args:
        folder: may hold runs of other kinds, too.
        kind: letters; the beginning of the files' names.
        write: makes values of JSON of a run.
        read: makes a run of them again; raises `ValueError` or the like if they are none.
    """

    def __init__(self, folder: Path, kind: str, write: Callable[[T], Any], read: Callable[[Any], T]) -> None:
        self._folder, self._kind, self._write, self._read = folder, kind, write, read
        self._name = re.compile(rf"{re.escape(kind)}-[0-9]{{8}}-[0-9]{{6}}-[0-9a-f]{{6}}")
        self._known: dict[tuple[str, int, int], Kept[T] | Unreadable] = {}

    def save(self, title: str, run: T) -> Kept[T]:
        """Keep a run.

        Raises:
            StoreError: it cannot be written; nothing of it is left then.
            SettingsError: the folder cannot be made.
        """
        when = datetime.now(UTC).replace(microsecond=0)
        kept = Kept(f"{self._kind}-{when:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}", when, title, run)
        data = {"version": _VERSION, "kind": self._kind, "when": when.isoformat(), "title": title}
        text = json_text({**data, "run": self._write(run)}, StoreError)
        part = None
        try:
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=ensure_dir(self._folder), prefix=".", suffix=".part", delete=False
            ) as file:
                part = Path(file.name)
                file.write(text)
            part.replace(self.path(kept.id))
        except OSError as error:
            if part is not None:
                part.unlink(missing_ok=True)
            raise StoreError(
                f"The run cannot be kept in {self._folder}: {error.strerror}.",
                hint="Free some space, or give yourself the right to write there. Earlier runs are safe.",
            ) from error
        return kept

    def all(self) -> tuple[list[Kept[T]], list[Unreadable]]:
        """The runs, newest first, and the files that were passed over."""
        try:
            files = sorted(self._folder.glob(f"{self._kind}-*.json"), reverse=True)
        except OSError as error:
            return [], [Unreadable(str(self._folder), str(error.strerror))]
        found = [self._cached(file) for file in files]
        runs = [each for each in found if isinstance(each, Kept)]
        return sorted(runs, key=lambda kept: (kept.when, kept.id), reverse=True), [
            each for each in found if isinstance(each, Unreadable)
        ]

    def get(self, run_id: str) -> Kept[T]:
        """One run.

        Raises:
            StoreError: there is none of that id, or its file cannot be used.
        """
        path = self.path(run_id)
        found = self._cached(path) if path.is_file() else Unreadable(path.name, "there is no such file")
        if isinstance(found, Unreadable):
            raise StoreError(f"The run {found.file} cannot be shown: {found.reason}.", hint="Choose another run.")
        return found

    def delete(self, run_id: str) -> None:
        """Delete a run; one that is not there is none.

        Raises:
            StoreError: it cannot be deleted.
        """
        path = self.path(run_id)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be deleted: {error.strerror}.", hint="Delete the file yourself."
            ) from error

    def path(self, run_id: str) -> Path:
        """The file of a run.

        Raises:
            StoreError: it is no id. (Ids come from addresses of pages.)
        """
        if not self._name.fullmatch(run_id):
            raise StoreError(f"There is no run {run_id[:60]!r}.", hint="Choose one of the list.")
        return self._folder / f"{run_id}.json"

    def _cached(self, path: Path) -> Kept[T] | Unreadable:
        """What a file holds; it is read again when it has changed."""
        try:
            about = path.stat()
        except OSError as error:
            return Unreadable(path.name, str(error.strerror))
        key = (path.name, about.st_mtime_ns, about.st_size)
        if key not in self._known:
            self._known = {each: kept for each, kept in self._known.items() if each[0] != path.name}
            self._known[key] = self._of_file(path, about.st_size)
        return self._known[key]

    def _of_file(self, path: Path, size: int) -> Kept[T] | Unreadable:
        if not path.is_file() or size > _LARGEST:
            return Unreadable(path.name, f"it is no file, or larger than {_LARGEST:,} bytes")
        if not self._name.fullmatch(path.stem):
            return Unreadable(path.name, "its name is none of a run")
        try:
            data = json.loads(path.read_text("utf-8"))
            if (data["version"], data["kind"]) != (_VERSION, self._kind):
                return Unreadable(path.name, f"it is of another version or kind: {data['version']!r:.20}")
            when = datetime.fromisoformat(data["when"])
            return Kept(path.stem, when.astimezone(UTC), str(data["title"]), self._read(data["run"]))
        except _BROKEN as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            return Unreadable(path.name, f"{type(error).__name__}: {reason:.200}")
