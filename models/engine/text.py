"""From the bytes of tokens to text that may be shown: whole characters only, and never past a stop string.

Knows nothing of models.
"""

import codecs
from collections.abc import Sequence


class TextStream:
    """Collects the bytes of one answer and gives out the text that is certain.

    Args:
        stop: strings that end the answer; the text stops before the first of them that is complete, however the bytes
            are cut into pieces.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stop = [s for s in stop if s]
        self._held = ""  # decoded, but perhaps the beginning of a stop string
        self.stopped = False
        self.exact = True  # False once text was cut off, or a piece was empty: a control token, which nobody sees

    def push(self, data: bytes) -> str:
        """Add a token's bytes; the text that became certain. After a stop string, `stopped` is set."""
        self.exact = self.exact and bool(data)
        return self._release(self._decoder.decode(data))

    def finish(self) -> str:
        """The rest, when no more tokens come. Bytes of an incomplete character become U+FFFD."""
        if self.stopped:
            return ""
        text = self._release(self._decoder.decode(b"", final=True))
        rest, self._held = self._held, ""
        return text + rest

    def _release(self, new: str) -> str:
        text = self._held + new
        found = [(at + len(s), at) for s in self._stop if (at := text.find(s)) >= 0]
        if found:
            self.stopped, self.exact, self._held = True, False, ""
            return text[: min(found)[1]]
        keep = max((overlap(text, s) for s in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
