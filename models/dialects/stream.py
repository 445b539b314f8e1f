"""What the dialects' parsers are made of: reading a stream in states, and calls whose arguments arrive in pieces."""

from collections.abc import Callable

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.utils.uuid import uuid7


class Reader:
    """Reads a stream of text in states, so that what comes out does not depend on how the text is cut.

    `_read` is the present state: it takes from `_text` what it is certain of, and may set another one.
    """

    def __init__(self, first: Callable[[], list[AIMessageChunk]]) -> None:
        self._text = ""  # not yet understood
        self._read = first

    def feed(self, text: str) -> list[AIMessageChunk]:
        """What became certain with this piece."""
        self._text += text
        chunks: list[AIMessageChunk] = []
        while True:
            state, before = self._read, len(self._text)
            chunks += state()
            if self._read == state and len(self._text) == before:
                return chunks

    def _content(self, length: int) -> list[AIMessageChunk]:
        """So many characters as text of the answer."""
        text, self._text = self._text[:length], self._text[length:]
        return [AIMessageChunk(content=text)] if text else []


class ObjectScanner:
    """Follows one JSON object through a stream of text."""

    def __init__(self) -> None:
        self.done = False
        self._open: list[str] = []
        self._in_string = self._escaped = False

    def take(self, text: str) -> int:
        """How many characters of a piece still belong to the object."""
        for at, char in enumerate(text):
            if self._step(char):
                self.done = True
                return at + 1
        return len(text)

    def _step(self, char: str) -> bool:
        """Follow one character; True if it closes the object."""
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif char == "\\":
                self._escaped = True
            elif char == '"':
                self._in_string = False
        elif char == '"':
            self._in_string = True
        elif char in "{[":
            self._open.append(char)
        elif char in "}]" and self._open:
            self._open.pop()
            return not self._open
        return False

    @property
    def spoiler(self) -> str:
        """What makes the unfinished object wrong for good.

        LangChain completes cut-off JSON, and would take `{"path": "/tm` for a whole call. A closing bracket that does
        not match is the one thing that it does not mend: the call becomes an invalid one.
        """
        bracket = "}" if self._open and self._open[-1] == "[" else "]"
        return ("\\" if self._escaped else "") + ('"' if self._in_string else "") + bracket


class CallWriter:
    """One call as LangChain's chunks: first its name and id, then its arguments in pieces.

    Args:
        name: the tool's.
        place: its place among the calls of the answer, from 0.
    """

    def __init__(self, name: str, place: int) -> None:
        # Among the blocks of a message in LangChain's format "v1", 0 is the thought or text before the calls.
        self._name, self._index = name, place + 1
        self._scanner = ObjectScanner()

    @property
    def done(self) -> bool:
        """Whether the arguments are complete."""
        return self._scanner.done

    def begin(self) -> AIMessageChunk:
        """The first chunk."""
        return self._chunk("", name=self._name, call_id=f"call_{uuid7().hex}")

    def take(self, text: str) -> tuple[list[AIMessageChunk], str]:
        """A piece of the arguments, and what of the text comes after them."""
        end = self._scanner.take(text)
        return ([self._chunk(text[:end])] if end else []), text[end:]

    def finish(self, *, shortened: bool = False) -> list[AIMessageChunk]:
        """Nothing, or what makes a call an invalid one: it was cut off, or `shortened` to end in time."""
        return [self._chunk(self._scanner.spoiler)] if shortened or not self.done else []

    def _chunk(self, args: str, name: str | None = None, call_id: str | None = None) -> AIMessageChunk:
        piece = tool_call_chunk(name=name, args=args, id=call_id, index=self._index)
        return AIMessageChunk(content="", tool_call_chunks=[piece])
