"""Is a model file still the file that it was, or that it should be?

The answer is a sha256: the one that is published (starter, Hugging Face, Ollama), or else the one found on first use
("trust on first use"). A ledger in the data folder remembers it with the file's size, times and inode, so that an
unchanged file is not read again; 2.4 GB take seconds. What this cannot notice: damage that was there before the first
use of a file nobody published a hash of, and a disk that returns other bytes while the file's times stay as they were.
"""

import hashlib
import logging
import os
import re
import shlex
import tempfile
import threading
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from phireside.errors import ModelDamagedError, ModelNotFoundError
from phireside.models.gguf_file import structure_problem

log = logging.getLogger(__name__)

_SHA256 = re.compile(r"(?:sha256-)?([0-9a-f]{64})")
# A file changed twice within one tick of the file system's clock keeps its times (FAT's tick is 2 s): a hash that was
# taken so soon after a change is not taken for granted the next time. Git calls such an entry "racily clean".
_TICK_NS = 2_000_000_000


class Record(BaseModel):
    """What the ledger knows of a file: its hash, its stat when that was taken, and whether a person vouched for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    checked_ns: int
    accepted: bool = False

    def still_holds(self, stat: os.stat_result) -> bool:
        """True if the file, by its stat, is the one that was hashed."""
        same = (self.size, self.mtime_ns, self.ctime_ns, self.inode) == _identity(stat)
        return same and max(self.mtime_ns, self.ctime_ns) + _TICK_NS < self.checked_ns


class _Book(BaseModel):
    """The ledger's JSON: a record for each absolute path."""

    files: dict[str, Record] = {}


_checking = threading.Lock()  # of the whole process: hashing takes seconds, and every model has a ledger of its own
_refused: dict[str, tuple[tuple[object, str | None], ModelDamagedError]] = {}


class Ledger:
    """The hashes of model files, in one JSON file. Two processes that write at once may lose a record, never more.

    Args:
        path: the JSON file. If it cannot be read it counts as empty, if it cannot be written nothing is remembered;
            both are logged, and checks go on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def verify(self, path: Path, expected: str | None = None) -> str:
        """Check a model file before it is used.

        Args:
            path: the file.
            expected: its published sha256; None if there is none. What a person accepted goes before it.

        Returns:
            The file's sha256.

        Raises:
            ModelDamagedError: it is no whole GGUF, or not the file that is expected; with reason and both hashes.
            ModelNotFoundError: it cannot be read.
        """
        key = _key(path)
        with _checking:  # whoever comes second finds the record of the first
            record = self._read().get(key)
            known = record.sha256 if record and (record.accepted or not expected) else expected
            stat = _stat(path)
            if record and record.sha256 == known and record.still_holds(stat):
                return record.sha256
            refused = _refused.get(key)
            if refused and refused[0] == (_identity(stat), known):
                raise refused[1]
            try:
                return self._check(path, key, known, accepted=bool(record and record.accepted))
            except ModelDamagedError as error:
                _refused[key] = (_identity(stat), known), error  # seconds of hashing need not be repeated
                raise

    def accept(self, path: Path) -> str:
        """Take the file as it is now for the right one, on a person's word; it still has to be a whole GGUF.

        Returns:
            Its sha256.
        """
        return self._check(path, _key(path), None, accepted=True)

    def record(self, path: Path, sha256: str) -> None:
        """Remember the hash of a file that was just downloaded and checked."""
        self._write(_key(path), _new_record(sha256, _stat(path), time.time_ns(), accepted=False))

    def _check(self, path: Path, key: str, known: str | None, *, accepted: bool) -> str:
        """Look at structure and hash; remember the hash if both are right."""
        before, begun_ns = _stat(path), time.time_ns()
        reason = broken = structure_problem(path)
        found = file_sha256(path)
        if _identity(_stat(path)) != _identity(before):
            reason = reason or "it was written to while it was checked"
        elif known and found != known:
            reason = reason or "its content is not what it should be (altered, or another file of that name)"
        if reason:
            hint = "Download or copy it again (`phireside models pull NAME`)."
            if not broken:
                hint += f" If you replaced it on purpose: `phireside models accept {shlex.quote(str(path))}`."
            raise ModelDamagedError(
                f"{path} is damaged: {reason}. Expected sha256 {known or 'unknown'}, found {found}.", hint=hint
            )
        self._write(key, _new_record(found, before, begun_ns, accepted=accepted))
        return found

    def _read(self) -> dict[str, Record]:
        try:
            return _Book.model_validate_json(self._path.read_bytes()).files
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            log.warning("The ledger of model hashes %s cannot be read and counts as empty: %s", self._path, error)
            return {}

    def _write(self, key: str, record: Record) -> None:
        with self._lock:
            book = _Book(files={**self._read(), key: record})
            try:
                _replace(self._path, book.model_dump_json(indent=1))
            except OSError as error:
                log.warning("The hash of a model cannot be remembered in %s: %s", self._path, error)


def file_sha256(path: Path) -> str:
    """The sha256 of a file, as 64 hexadecimal digits.

    Raises:
        ModelNotFoundError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def sha256_in_name(path: Path) -> str | None:
    """The sha256 that a content-addressed store (Hugging Face cache, Ollama) has as the file's name, if that is one."""
    match = _SHA256.fullmatch(Path(os.path.realpath(path)).name)
    return match.group(1) if match else None


def _key(path: Path) -> str:
    """The file's absolute path without links, as text that JSON can hold whatever the bytes of its name."""
    return os.path.realpath(path).encode("utf-8", "backslashreplace").decode()


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error


def _identity(stat: os.stat_result) -> tuple[int, int, int, int]:
    """What changes when a file is written to, or replaced by another (`ctime` also when its times are set back)."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _new_record(sha256: str, stat: os.stat_result, checked_ns: int, *, accepted: bool) -> Record:
    size, mtime_ns, ctime_ns, inode = _identity(stat)
    return Record(
        sha256=sha256,
        size=size,
        mtime_ns=mtime_ns,
        ctime_ns=ctime_ns,
        inode=inode,
        checked_ns=checked_ns,
        accepted=accepted,
    )


def _replace(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, finds the old or the new one and nothing between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _unreadable(path: Path, error: OSError) -> ModelNotFoundError:
    return ModelNotFoundError(f"{path} cannot be read: {error.strerror}.", hint="Check the path and the rights on it.")
