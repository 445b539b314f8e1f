"""Tool: read a text file in folders that a person allowed.

A name is followed one folder at a time: each is opened from the one before it, and never through a link (openat(2) with
O_NOFOLLOW). So no check can become false before the file is opened, whatever is swapped meanwhile. Hard links are
files like any other. Knows no documents (PDF, docx).
"""

import codecs
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated

from langchain_core.tools import BaseTool, tool

from phireside.errors import NotSupportedError, SettingsError, ToolError

LONGEST = 20_000  # characters
_PART = r'\.?[^\x00-\x1f\x7f"\\/~.][^\x00-\x1f\x7f"\\/]{0,60}'
NAME = rf"({_PART}/){{0,4}}{_PART}"
_LONGEST_NAME = 1000  # characters
_SEEN, _LISTED = 2000, 30  # entries of a folder that are looked at, and named
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # what no text has, ANSI colours aside
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_HERE = "Name a file in the allowed folders, as notes/plan.txt."
# O_NONBLOCK: a FIFO does not wait for its writer.
_WANTED = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY")
_FILE = os.O_RDONLY | sum(getattr(os, name, 0) for name in _WANTED)
_FOLDER = _FILE | getattr(os, "O_DIRECTORY", 0)


def read_file(folders: str | Path | Sequence[str | Path], longest: int = LONGEST) -> BaseTool:
    """A tool that reads text files.

    Args:
        folders: in which, and below which, files may be read; a name is looked for in one after another.
        longest: characters of a file that are returned; the tool says if there are more.

    Returns:
        The tool `read_file(name)`. It raises ToolError, and names the files that there are, if it cannot read one.

    Raises:
        SettingsError: a folder is none.
        NotSupportedError: the system cannot open files safely (Windows).
    """
    if os.open not in os.supports_dir_fd or not hasattr(os, "O_NOFOLLOW"):
        raise NotSupportedError("This system cannot keep a model within a folder.", hint="Use Linux or macOS.")
    roots = [_root(each) for each in ([folders] if isinstance(folders, str | Path) else folders)]
    if not roots:
        raise SettingsError("read_file has no folder to read in.", hint='Pass read_file(["notes"]).')

    @tool
    def read_file(name: Annotated[str, "as plan.txt or notes/plan.txt"]) -> str:
        """Read a text file."""
        parts, reason, there = _parts(name), "", []
        for root in roots:
            with _descended(root, parts) as (folder, left):
                if len(left) == 1:
                    try:
                        return _read(folder, left[0], longest)
                    except FileNotFoundError:
                        pass
                    except OSError as error:  # ELOOP: a link
                        reason = f"cannot be read: {error.strerror}"
                there.append(_listing(folder, parts[: len(parts) - len(left)]))
                reason = reason or ("" if left else "is a folder")
        shown = "/".join(parts)[:80]
        raise ToolError(f"{shown} {reason or 'is not there'}.", hint=" ".join(filter(None, there)) or _HERE)

    read_file.metadata = {"grammars": {"name": {"regex": NAME}}, "effects": "none", "untrusted": True}
    return read_file


def _root(folder: str | Path) -> Path:
    """An allowed folder; links on the way to it are the person's own, and followed once, here."""
    try:
        root = Path(folder).expanduser().resolve(strict=True)
        with os.scandir(root):
            return root
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"{folder} is no folder to read in: {reason}.", hint="Name one that is there.") from error


def _parts(name: str) -> list[str]:
    """The names of folders and file on the way.

    Raises:
        ToolError: it leads out of the folder, or is no name.
    """
    name = name.strip()
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        parts = []
    absolute = name.startswith(("/", "\\", "~")) or re.match(r"[A-Za-z]:", name)
    if absolute or ".." in parts or not parts or len(name) > _LONGEST_NAME or re.search(r"[\x00-\x1f\x7f]", name):
        raise ToolError(f"{ascii(name)[:80]} is not the name of a file in the allowed folders.", hint=_HERE)
    return parts


@contextmanager
def _descended(root: Path, parts: list[str]) -> Iterator[tuple[int, list[str]]]:
    """As many folders down as there are: the last one's descriptor, and the names that are left."""
    try:
        folder = os.open(root, _FOLDER)
    except OSError as error:
        raise ToolError(f"The folder cannot be read: {error.strerror}.", hint="Do without it.") from error
    left = list(parts)
    try:
        while left:
            try:
                inner = os.open(left[0], _FOLDER, dir_fd=folder)
            except OSError:
                break
            os.close(folder)
            folder = inner
            del left[0]
        yield folder, left
    finally:
        os.close(folder)


def _read(folder: int, name: str, longest: int) -> str:
    """The text of a file.

    Raises:
        OSError: it cannot be opened.
        ToolError: it is no file, or no text.
    """
    descriptor = os.open(name, _FILE, dir_fd=folder)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ToolError(f"{name} is not a file.", hint=_listing(folder, []))
        data = b""
        while len(data) <= 4 * longest and (more := file.read(4 * longest + 1 - len(data))):
            data += more
    text = _CONTROL.sub("", _decoded(name, data).replace("\r\n", "\n"))
    if len(text) <= longest and len(data) <= 4 * longest:
        return text or "(The file is empty.)"
    return f"{text[:longest]}\n(The file goes on: it has {max(found.st_size, len(data)):,} bytes in all.)"


def _decoded(name: str, data: bytes) -> str:
    """Text of a file that may be cut, also within a character."""
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not utf16 and _BINARY.search(data):
        raise ToolError(f"{name} is not a text file.", hint="Read another one.")
    try:
        return codecs.getincrementaldecoder("utf-16" if utf16 else "utf-8-sig")().decode(data)
    except UnicodeDecodeError:
        return data.decode("utf-16" if utf16 else "cp1252", errors="replace")


def _listing(folder: int, inside: list[str]) -> str:
    """The files and folders in a folder, as help."""
    try:
        with os.scandir(folder) as entries:
            some = [
                entry.name + "/" * entry.is_dir(follow_symlinks=False)
                for entry in islice(entries, _SEEN)
                if entry.name.isprintable()
                and (entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False))
            ]
    except OSError:
        return ""
    names = sorted("/".join([*inside, name])[:120] for name in some)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"There are: {', '.join(names[:_LISTED])}{more}." if names else ""
