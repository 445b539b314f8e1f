"""KV states of sequences in files, so that a conversation opens again without evaluating its tokens.

It is a cache: a file that is damaged or of another model is left aside with a log line, no fault of the disk raises.
Knows nothing of llama.cpp: a state is bytes. Weights and context are told by the folder (`StateFiles.folder_for`).

A file is called by the hashes of its name and its tokens, so what a path stands for never changes. It is one line, a
sha256 and a JSON object, and then the state. The sha256 is of format, path and object, the object has the state's
CRC-32: that finds rot and short writes, as in zip and ext4, and is read three times as fast. Against somebody who may
write to the folder neither helps.
"""

import hashlib
import json
import logging
import os
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import TypedDict

import numpy as np

from phireside.models.engine.sequences import common_prefix

log = logging.getLogger(__name__)

_FORMAT = b"phireside KV state 2\n"
_FILE, _TEMP = ".kv", ".tmp"
_ABANDONED_S = 3600.0  # nobody still writes a temporary file of this age
_LINE_BYTES = 1 << 24  # no file of ours has a longer first line


class _Header(TypedDict):
    tokens: list[int]
    state_bytes: int
    crc32: int


class StateFiles:
    """The files of one folder. Threads, and other processes, may use the same folder.

    Args:
        folder: for one weights file and its context's settings (`folder_for`); made when needed, its owner's alone.
        limit_bytes: the files take no more than this (one more while it is written); 0 = none is written or read.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder, self._limit = folder.absolute(), limit_bytes
        self._index: dict[Path, list[int]] = {}  # tokens of each file, none of an unusable one; replaced, never changed
        if limit_bytes:
            self._clean()

    @staticmethod
    def folder_for(root: Path, weights_sha256: str, settings: Mapping[str, object]) -> Path:
        """The folder for the states of a weights file in a context with these settings.

        Args:
            root: where all such folders are.
            weights_sha256: of the weights file, hexadecimal.
            settings: all else that a state depends on (KV types, RoPE, llama.cpp's build), as JSON values.
        """
        canonical = json.dumps(dict(settings), sort_keys=True, separators=(",", ":"))
        return root / weights_sha256[:16] / _hash(canonical)[:16]

    def longest(self, prompt: Sequence[int], whole: bool = False) -> tuple[Path | None, int]:
        """The file that shares the longest beginning with a prompt, and that beginning's length in tokens.

        Args:
            prompt: the prompt's tokens.
            whole: only files all of whose tokens begin the prompt, for models that cannot be rewound.

        Returns:
            (None, 0) if there is none. Of equals the one of fewest tokens, which is read fastest.
        """
        best, length, wanted = None, 0, list(prompt)
        for path, tokens in sorted(self._scan().items(), key=lambda item: len(item[1])):
            common = common_prefix(tokens, wanted)
            if common > length and (not whole or common == len(tokens)):
                best, length = path, common
        return best, length

    def read(self, path: Path) -> tuple[list[int], memoryview] | None:
        """A file's tokens and state.

        Returns:
            The state as writable bytes in memory of their own, checked there; None if the file is gone or unusable.
        """
        try:
            with path.open("rb") as file:
                header = _read_header(file, path)
                # No mapping: its pages could be read from the disk once more after the check.
                state = np.empty(header["state_bytes"], np.uint8).data
                if file.readinto(state) != len(state) or zlib.crc32(state) != header["crc32"]:
                    raise ValueError("its state is damaged")
        except (OSError, MemoryError, ValueError) as error:
            self._set_aside(path, error)
            return None
        with suppress(OSError):
            os.utime(path)  # used just now, for `_clean`
        return header["tokens"], state

    def write(self, name: str, tokens: Sequence[int], state: memoryview | bytes) -> None:
        """Keep a state in place of the older one of that name. Takes as long as the disk does.

        Args:
            name: what the state is kept for, e.g. a conversation's id; only its hash is stored.
            tokens: the tokens that the state is of.
            state: contiguous bytes; not changed by anybody meanwhile.
        """
        if not self._limit or not tokens or not memoryview(state).nbytes:
            return
        view, key, tokens = memoryview(state).cast("B"), _hash(name), list(tokens)
        path = self._folder / f"{key}-{_hash(json.dumps(tokens))[:32]}{_FILE}"
        header = _Header(state_bytes=len(view), crc32=zlib.crc32(view), tokens=tokens)
        line = _sealed(path, json.dumps(header).encode() + b"\n")
        try:
            if len(line) + len(view) > self._limit:
                raise OSError(f"its {len(line) + len(view)} bytes exceed the limit of {self._limit}")
            # Listed before, so that of two processes that write the same name at once neither removes the other's.
            older = [old for old in self._paths(f"{key}-*{_FILE}") if old != path]
            self._store(path, line, view)
        except OSError as error:
            log.warning("The KV state of %d tokens cannot be kept in %s: %s", len(tokens), self._folder, error)
            return
        self._index = self._index | {path: tokens}
        for old in older:
            self._remove(old)
        self._clean()

    def forget(self, name: str) -> None:
        """Remove what is kept under a name, also where the limit is 0 by now."""
        for path in self._paths(f"{_hash(name)}-*"):
            self._remove(path)

    def _scan(self) -> dict[Path, list[int]]:
        """The tokens of each file; only headers of new files are read."""
        known, index = self._index, {}
        for path in self._paths(f"*{_FILE}") if self._limit else []:
            try:
                index[path] = known[path] if path in known else _read_tokens(path)
            except (OSError, MemoryError, ValueError) as error:
                self._set_aside(path, error)
                index[path] = []
        self._index = index
        return index

    def _store(self, path: Path, line: bytes, state: memoryview) -> None:
        """Write a file so that a reader, a crash or a full disk leaves the old one or the new one."""
        self._folder.mkdir(0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        descriptor, name = tempfile.mkstemp(_TEMP, f"{path.stem}-", self._folder)  # mode 0600; `forget` finds it
        temp = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(line)
                file.write(state)
                file.flush()
                os.fsync(descriptor)
            temp.replace(path)
        finally:
            temp.unlink(missing_ok=True)

    def _clean(self) -> None:
        """Remove what killed writers left, and the least recently used files until the limit holds."""
        found = []
        for path in self._paths(f"*{_FILE}") + self._paths(f"*{_TEMP}"):
            with suppress(OSError):  # just removed by another process
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total, abandoned = sum(size for _, size, _ in found), (time.time() - _ABANDONED_S) * 1e9
        for used, size, path in sorted(found):
            if total > self._limit or (path.suffix == _TEMP and used < abandoned):
                self._remove(path)
                total -= size

    def _set_aside(self, path: Path, reason: Exception) -> None:
        """Do not try a file again, and remove it if it is unusable for good, not only for want of rights or memory."""
        if isinstance(reason, FileNotFoundError):
            return
        log.warning("KV file %s is not used: %s", path, reason)
        self._index = self._index | {path: []}
        if isinstance(reason, ValueError):
            self._remove(path)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("KV file %s cannot be removed: %s", path, error)

    def _paths(self, pattern: str) -> list[Path]:
        try:
            return list(self._folder.glob(pattern))
        except OSError as error:
            log.warning("The KV files in %s cannot be listed: %s", self._folder, error)
            return []


def _read_header(file: BufferedReader, path: Path) -> _Header:
    """The first line; ValueError if it or the file's length is wrong."""
    line = file.readline(_LINE_BYTES)
    _, _, text = line.partition(b" ")
    if line != _sealed(path, text):
        raise ValueError("it is damaged, or not of this folder and version")
    header: _Header = json.loads(text)
    expected, found = len(line) + header["state_bytes"], os.fstat(file.fileno()).st_size
    if found != expected:
        raise ValueError(f"it has {found} bytes, not {expected}")
    return header


def _read_tokens(path: Path) -> list[int]:
    with path.open("rb") as file:
        return _read_header(file, path)["tokens"]


def _sealed(path: Path, text: bytes) -> bytes:
    """A header's text behind the hash of it, of the format and of where it belongs."""
    place = os.fsencode("/".join(path.parts[-3:]))
    return hashlib.sha256(_FORMAT + place + b"\n" + text).hexdigest().encode() + b" " + text


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
