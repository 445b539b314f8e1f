"""Reads the front of a GGUF file: metadata and tensor list, each length checked before it is used.

llama.cpp believes much of what a file says, so a file is read here first. Nothing is mapped and no weight is read: a
file that shrinks meanwhile gives an error, not a SIGBUS. The structure is checked, never the values of weights; for
those see `phireside.models.integrity`.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. `gguf.GGUFReader` was measured first, on
SmolLM2-135M: 1.7 s against 0.05 s here, and "index 0 is out of bounds" is all it has to say about a damaged file.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from phireside.errors import ModelDamagedError, ModelNotFoundError
from phireside.models.ggml_types import tensor_bytes

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_KEPT_ELEMENTS = 1024  # longer arrays (a vocabulary) are counted and skipped
_MAX_FRONT = 64 << 20  # bytes of header, metadata and tensor list; a vocabulary of 262,000 tokens takes about 17 MB
_MAX_DIMS, _MAX_ALIGNMENT = 4, 1 << 20

Scalar = int | float | bool | str


@dataclass(frozen=True)
class Array:
    """An array in the metadata: how many elements it has, and these themselves unless there are very many."""

    length: int
    elements: tuple[Scalar, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file: shape (fastest dimension first), ggml type, first byte in the file and number of bytes."""

    name: str
    shape: tuple[int, ...]
    type: int
    start: int
    size: int


@dataclass(frozen=True)
class GgufFile:
    """What the front of a GGUF file says. `size` is the file's, in bytes."""

    path: Path
    size: int
    metadata: dict[str, Scalar | Array]
    tensors: tuple[Tensor, ...]

    def text(self, key: str) -> str | None:
        """The string at `key`, or None if there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> int | None:
        """The whole number at `key`, or None if there is none."""
        value = self.metadata.get(key)
        return value if isinstance(value, int) else None


def read_gguf(path: Path) -> GgufFile:
    """Read and check the front of a GGUF file.

    Raises:
        ModelDamagedError: the file is not a whole GGUF; the message names the reason.
        ModelNotFoundError: the file cannot be read.
    """
    try:
        return _read(path)
    except _Broken as error:
        raise ModelDamagedError(f"{path} is damaged: {error}.", hint="Download or copy it again.") from error


def structure_problem(path: Path) -> str:
    """Why a file is not a whole GGUF, to complete "it is damaged: …"; empty if it is one.

    Raises:
        ModelNotFoundError: the file cannot be read.
    """
    try:
        _read(path)
    except _Broken as error:
        return str(error)
    return ""


def is_regular(path: Path) -> bool:
    """True for a file that can be looked at; not for a folder, nor a FIFO, which would never answer."""
    try:
        return path.is_file()
    except OSError:  # no right to enter its folder
        return False


def look_problem(path: Path) -> str:
    """Why a file cannot be a model, judged by its first bytes only; empty if they look right. Costs microseconds."""
    try:
        if not is_regular(path):
            return "it is not a regular file"
        with path.open("rb") as file:
            return _no_gguf(file.read(512))
    except OSError as error:
        return f"it cannot be read ({error.strerror})"


def _read(path: Path) -> GgufFile:
    if not is_regular(path):
        raise ModelNotFoundError(f"There is no file {path}, or it is out of reach.", hint="Check the path.")
    try:
        with path.open("rb", buffering=1 << 20) as file:
            return _Front(file, path).read()
    except OSError as error:
        raise ModelNotFoundError(f"{path} cannot be read: {error.strerror}.", hint="Check the rights on it.") from error


class _Broken(Exception):  # noqa: N818 (never leaves this module)
    """The file breaks a rule of the format; the text completes "it is damaged: …"."""


def _no_gguf(head: bytes) -> str:
    """What a file that starts with `head` is instead of a GGUF of this version; empty if it is one."""
    if not head:
        return "it is empty (0 bytes)"
    if head.lstrip()[:100].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page (a login or error page saved under the model's name)"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer of a few lines, not the model itself (git lfs pull fetches that)"
    if not head.startswith(b"GGUF"):
        return f"it starts with {head[:4]!r}, not with b'GGUF'"
    if len(head) < 24:
        return f"it is truncated: {len(head)} bytes, and the header alone has 24"
    (version,) = struct.unpack_from("<I", head, 4)
    return "" if version in (2, 3) else f"it says GGUF version {version}; versions 2 and 3 (little-endian) are known"


class _Front:
    """Walks through the front of one file; `left` is what the file still has from here, in bytes."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._size = self.left = file.seek(0, 2)
        file.seek(0)

    def read(self) -> GgufFile:
        """Header, metadata, tensor list, then the extents of the tensors."""
        head = self._file.read(512)
        if problem := _no_gguf(head):
            raise _Broken(problem)
        self._file.seek(0)
        self.skip(8)
        tensors, keys = self.length(), self.length()
        metadata = self._metadata(keys)
        if not tensors or not isinstance(metadata.get("general.architecture"), str):
            raise _Broken("it has no weights, or does not say what architecture they are of")
        return GgufFile(self._path, self._size, metadata, self._tensors(tensors, metadata))

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        self._pass(count)
        data = self._file.read(count)
        if len(data) != count:
            raise _Broken("it became shorter while it was read")
        return data

    def skip(self, count: int) -> None:
        """Go on `count` bytes further."""
        self._pass(count)
        self._file.seek(count, 1)

    def _pass(self, count: int) -> None:
        if count > self.left:
            raise _Broken(f"it is truncated: {count} more bytes are announced, and it has {self.left}")
        self.left -= count
        if self._size - self.left > _MAX_FRONT:
            raise _Broken(f"its metadata and tensor list take more than {_MAX_FRONT >> 20} MB")

    def scalar(self, form: str) -> int | float | bool:
        """One number."""
        value: int | float | bool = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def length(self) -> int:
        """How many things follow. Each takes a byte at least, so there are no more than bytes left in the file."""
        count = int(self.scalar("<Q"))
        if count > self.left:
            raise _Broken(
                f"it is truncated, or altered: it announces a length of {count}, and it has {self.left} more bytes"
            )
        return count

    def string(self) -> str:
        """A string. Not every vocabulary is clean UTF-8."""
        return self.take(self.length()).decode("utf-8", "replace")

    def _metadata(self, count: int) -> dict[str, Scalar | Array]:
        metadata: dict[str, Scalar | Array] = {}
        for _ in range(count):
            key = self.string()
            if not key or key in metadata:
                raise _Broken(f"the metadata key {key[:60]!r} is empty or there twice")
            metadata[key] = self._value(int(self.scalar("<I")), distinct=key == "tokenizer.ggml.tokens")
        return metadata

    def _value(self, kind: int, *, distinct: bool) -> Scalar | Array:
        if kind == _ARRAY:
            return self._array(int(self.scalar("<I")), self.length(), distinct=distinct)
        return self._element(kind)

    def _element(self, kind: int) -> Scalar:
        if kind == _STRING:
            return self.string()
        if kind not in _SCALARS:  # arrays in arrays among them, which llama.cpp does not know either
            raise _Broken(f"a metadata value has the unknown type {kind}")
        return self.scalar(_SCALARS[kind])

    def _array(self, kind: int, length: int, *, distinct: bool) -> Array:
        """An array; of a long one only the length, but `distinct` strings are compared."""
        if length <= _KEPT_ELEMENTS and not distinct:
            return Array(length, tuple(self._element(kind) for _ in range(length)))
        if kind == _STRING and distinct:
            named = [text for _ in range(length) if (text := self.take(self.length()))]
            if len(set(named)) != len(named):
                raise _Broken("two of its tokens are the same")  # llama.cpp would abort the whole process
        elif kind == _STRING:
            for _ in range(length):
                self.skip(self.length())
        elif kind in _SCALARS:
            self.skip(length * struct.calcsize(_SCALARS[kind]))
        else:
            raise _Broken(f"a metadata array has elements of the unknown type {kind}")
        return Array(length, ())

    def _tensors(self, count: int, metadata: dict[str, Scalar | Array]) -> tuple[Tensor, ...]:
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
            raise _Broken(f"its alignment is {alignment!r}, not a power of two")
        infos = [self._tensor_info() for _ in range(count)]
        if len({name for name, *_ in infos}) != count:
            raise _Broken("two of its tensors have the same name")
        start = _padded(self._size - self.left, alignment)
        tensors, offset = [], 0
        for name, shape, kind, claimed in infos:
            size = self._extent(name, shape, kind)
            if claimed != offset:  # llama.cpp demands the same
                raise _Broken(f"tensor {name[:60]!r} starts at {claimed}, and the one before it ends at {offset}")
            if start + offset + size > self._size:
                raise _Broken(
                    f"it is truncated: {name[:60]!r} ends at {start + offset + size}, the file at {self._size}"
                )
            tensors.append(Tensor(name, shape, kind, start + offset, size))
            offset += _padded(size, alignment)
        return tuple(tensors)

    def _tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self.string()
        dims = int(self.scalar("<I"))
        if not 1 <= dims <= _MAX_DIMS:
            raise _Broken(f"tensor {name[:60]!r} has {dims} dimensions")
        shape = struct.unpack(f"<{dims}Q", self.take(8 * dims))
        return name, shape, int(self.scalar("<I")), int(self.scalar("<Q"))

    def _extent(self, name: str, shape: tuple[int, ...], kind: int) -> int:
        if 0 in shape:
            raise _Broken(f"tensor {name[:60]!r} has the shape {shape}")
        try:
            return tensor_bytes(shape, kind)
        except ValueError as error:
            raise _Broken(f"tensor {name[:60]!r}: {error}") from error


def _padded(count: int, alignment: int) -> int:
    return -(-count // alignment) * alignment
