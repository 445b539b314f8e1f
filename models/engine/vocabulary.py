"""A model file's tokenizer: text to tokens and back, and which tokens end or steer. Knows nothing of its weights."""

import ctypes
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from phireside.models.engine.library import llama, load_model
from phireside.models.grammar import forget
from phireside.text import clean_text

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_CONTROL, _USER_DEFINED, _UNKNOWN = 1 << 3, 1 << 4, 1 << 0


class Vocabulary:
    """A model file's tokenizer, loaded without its weights. Safe to use from any thread.

    Args:
        path: the GGUF file.

    Raises:
        ModelLoadError: llama.cpp refuses the file.
    """

    def __init__(self, path: Path) -> None:
        self._lib = llama()
        params = self._lib.llama_model_default_params()
        params.vocab_only = True
        self._model = load_model(path, params)
        self._vocab = self._lib.llama_model_get_vocab(self._model)
        self.size: int = self._lib.llama_vocab_n_tokens(self._vocab)
        self.metadata: dict[str, str] = dict(self._read_metadata())
        self.chat_template: str = self.metadata.get("tokenizer.chat_template", "")
        self.bos: int = self._lib.llama_vocab_bos(self._vocab)
        self.adds_bos: bool = bool(self._lib.llama_vocab_get_add_bos(self._vocab)) and self.bos >= 0
        self._pieces: dict[int, bytes] = {}

    def __del__(self) -> None:
        # Freed when nobody holds it, so that no other thread can be inside a call.
        if "guide" in self.__dict__:
            forget(self.guide)
        if getattr(self, "_model", None) and self._lib.llama_model_free:  # None while the interpreter exits
            self._lib.llama_model_free(self._model)

    def tokenize(self, text: str, *, markers: bool) -> list[int]:
        """Tokens of `text`, without a leading begin-of-text token.

        Args:
            text: any text; lone surrogates become U+FFFD.
            markers: whether control tokens written out (`<|end|>`) become those tokens, or stay text.
        """
        data = clean_text(text).encode()
        room = len(data) + 8
        buffer = (self._lib.llama_token * room)()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), buffer, room, False, markers)
        if count < 0:  # more tokens than bytes: never seen, but the API allows it
            buffer = (self._lib.llama_token * -count)()
            count = self._lib.llama_tokenize(self._vocab, data, len(data), buffer, -count, False, markers)
        return list(buffer[:count])

    def piece(self, token: int, *, markers: bool = False) -> bytes:
        """The bytes of a token, perhaps only part of a character; control tokens are empty unless `markers`."""
        if not markers and token in self._pieces:
            return self._pieces[token]
        room = 256
        buffer = ctypes.create_string_buffer(room)
        size = self._lib.llama_token_to_piece(self._vocab, token, buffer, room, 0, markers)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = self._lib.llama_token_to_piece(self._vocab, token, buffer, -size, 0, markers)
        if not markers:
            self._pieces[token] = buffer.raw[:size]
        return buffer.raw[:size]

    def text(self, token: int) -> str:
        """A token as the vocabulary writes it, control tokens included."""
        return self.piece(token, markers=True).decode("utf-8", "replace") if token >= 0 else ""

    def is_end(self, token: int) -> bool:
        """Whether the model ends its answer with this token."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    @functools.cached_property
    def eos(self) -> int:
        """The end-of-sequence token, or -1."""
        return int(self._lib.llama_vocab_eos(self._vocab))

    @functools.cached_property
    def markers(self) -> frozenset[str]:
        """Every text that the tokenizer may read as a role or control marker."""
        kinds = {t: self._lib.llama_vocab_get_attr(self._vocab, t) for t in range(self.size)}
        control = {self.text(t) for t, kind in kinds.items() if kind & (_CONTROL | _UNKNOWN)}
        # User-defined tokens may be plain words or runs of spaces; only those that look like markers are dangerous.
        defined = {self.text(t) for t, kind in kinds.items() if kind & _USER_DEFINED}
        return frozenset(control | {text for text in defined if len(text) > 2 and text[0] in "<["}) - {""}

    @functools.cached_property
    def guide(self) -> "LLTokenizer":
        """The vocabulary as llguidance reads it; every token that ends an answer is its end of text.

        It points into this vocabulary, which must outlive it.
        """
        from llguidance import LLTokenizer  # heavy: only where a grammar is used

        make: Callable[..., LLTokenizer] = LLTokenizer.from_llamacpp  # type: ignore[attr-defined]  # not in its stubs
        ends = [token for token in range(self.size) if self.is_end(token)]
        return make(
            tokens=[b"\xff" * self._is_special(token) + self.piece(token, markers=True) for token in range(self.size)],
            vocab_ptr=self._vocab,
            tokenize_fptr=ctypes.cast(self._lib.llama_cpp._lib.llama_tokenize, ctypes.c_void_p).value,
            eos_token=ends or [self.eos],
        )

    def _is_special(self, token: int) -> bool:
        """Whether no text can become this token."""
        kind, text = self._lib.llama_vocab_get_attr(self._vocab, token), self.text(token)
        return bool(kind & (_CONTROL | _UNKNOWN) or (kind & _USER_DEFINED and text[:1] == "<" and text[-1:] == ">"))

    def is_control(self, token: int) -> bool:
        """Whether the token is a control token, such as a role marker."""
        return bool(self._lib.llama_vocab_is_control(self._vocab, token))

    def _read_metadata(self) -> Iterator[tuple[str, str]]:
        for i in range(self._lib.llama_model_meta_count(self._model)):
            key = _read_string(self._lib.llama_model_meta_key_by_index, self._model, i)
            yield key, _read_string(self._lib.llama_model_meta_val_str_by_index, self._model, i)


def _read_string(function: Callable[..., int], *args: object) -> str:
    """Call a llama.cpp function that fills a string buffer, with a buffer as large as it asks for."""
    size = 256
    while True:
        buffer = ctypes.create_string_buffer(size)
        needed = function(*args, buffer, size)
        if needed < size:
            return buffer.value.decode("utf-8", "replace")
        size = needed + 1
