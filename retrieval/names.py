"""What bases and their documents are called, which bases may be offered, and where one lies. Opens none."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phireside.errors import KnowledgeError
from phireside.retrieval.schema import BASE_FILE
from phireside.text import clean_text

_NAME = re.compile(r"\w[\w .-]{0,63}")
_OF_CHAT = re.compile(r"chat-([0-9a-f]{32})")  # not chat-notes, which a person may call a base of theirs
_HASHED = ("upload:", "text:")  # begin sources that say nothing to a person


def base_folder(name: str, folder: Path) -> Path:
    """The folder of a base.

    Raises:
        KnowledgeError: the name cannot be one.
    """
    if not _NAME.fullmatch(name) or name.endswith((".", " ")):
        raise KnowledgeError(
            f"{clean_text(name)[:80]!r} cannot be the name of a base.",
            hint="Use up to 64 letters, digits, spaces, and _ . - and begin with a letter or digit.",
        )
    return folder / name


def base_names(folder: Path) -> list[str]:
    """All bases in a folder of bases, by name. To offer some, take `offered_bases`."""
    return sorted(file.parent.name for file in folder.glob(f"*/{BASE_FILE}"))


def offered_bases(folder: Path) -> list[str]:
    """The bases that may be offered: all but those of files that were dropped into a chat, which are for that chat."""
    return [name for name in base_names(folder) if not chat_of(name)]


def chat_base(conversation_id: str) -> str:
    """The name of the base that has the files of a conversation."""
    return f"chat-{conversation_id}"


def chat_of(name: str) -> str:
    """The id of the conversation whose files a base has; empty if it is no such base."""
    match = _OF_CHAT.fullmatch(name)
    return match[1] if match else ""


def shown_source(metadata: Mapping[str, Any]) -> str:
    """What a reader is told of where a passage is from: its source, or the title where that is only a hash.

    The title of an upload is the file's name if it has no other. A program knows it by its `document` or `source`.

    Returns:
        empty if nothing is known that says something.
    """
    source = str(metadata.get("source") or "")
    return source if source and not source.startswith(_HASHED) else str(metadata.get("title") or "")
