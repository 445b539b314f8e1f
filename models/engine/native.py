"""The edge to llama.cpp: the only file that imports `llama_cpp`.

`Vocabulary` turns text into tokens and back, `Weights` are a loaded model, `Context` is its KV cache and `decode`.
Knows nothing of requests, threads or scheduling: whoever holds a `Context` must be its only user.
"""

import ctypes
import functools
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from phireside.errors import EngineError, ModelLoadError
from phireside.settings import EngineSettings

log = logging.getLogger("phireside.llama")

_LEVELS = {3: logging.INFO, 4: logging.INFO}  # ggml's warnings and errors; what matters of them we raise ourselves
_complaints: deque[str] = deque(maxlen=3)  # its last errors, for the message when a file cannot be loaded
_KV_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "bf16": 30}
_KV_BITS = {"f32": 32, "f16": 16, "bf16": 16, "q8_0": 8.5, "q5_1": 6, "q5_0": 5.5, "q4_1": 5, "q4_0": 4.5}  # per value
_FLASH_ATTN = {"auto": -1, "off": 0, "on": 1}
_CONTROL, _USER_DEFINED, _UNKNOWN = 1 << 3, 1 << 4, 1 << 0

ABORTED, NO_SLOT = 2, 1  # what Context.decode returns besides 0


@functools.cache
def _llama() -> ModuleType:
    """llama.cpp's bindings, imported at first use, with its log going to `logging`.

    Raises:
        ModelLoadError: llama-cpp-python is missing, or its native library cannot be loaded.
    """
    # Waiting threads of GNU OpenMP spin for milliseconds by default, and so take the core from those they wait for.
    # After a short spin they had better sleep: beside a busy process, prompts are read faster for it
    # (docs/performance.md, "Threads").
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        import llama_cpp  # heavy, and the program must start without it
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelLoadError(
            f"llama.cpp cannot be loaded: {error}.",
            hint="Run `pip install --force-reinstall llama-cpp-python`; `phireside doctor` shows what is installed.",
        ) from error
    llama_cpp.llama_backend_init()
    llama_cpp.llama_log_set(_log_callback(llama_cpp), None)
    library: ModuleType = llama_cpp
    return library


@functools.cache
def _log_callback(llama_cpp: ModuleType) -> object:
    """The callback must outlive the library's use of it, hence the cache."""

    def write(level: int, text: bytes, _data: object) -> None:
        line = text.decode("utf-8", "replace").strip()
        log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)
        if level == 4:
            _complaints.append(line)

    return llama_cpp.llama_log_callback(write)


@dataclass(frozen=True)
class BuildInfo:
    """How the installed llama.cpp was built."""

    version: str
    gpu: bool
    features: str


def build_info() -> BuildInfo:
    """Version of llama-cpp-python, whether it can offload to a GPU, and llama.cpp's own list of CPU features."""
    llama = _llama()
    return BuildInfo(
        llama.__version__, bool(llama.llama_supports_gpu_offload()), llama.llama_print_system_info().decode()
    )


class Vocabulary:
    """A model file's tokenizer, loaded without its weights. Safe to use from any thread.

    Args:
        path: the GGUF file.

    Raises:
        ModelLoadError: llama.cpp refuses the file.
    """

    def __init__(self, path: Path) -> None:
        self._lib = _llama()
        params = self._lib.llama_model_default_params()
        params.vocab_only = True
        self._model = _load(path, params)
        self._vocab = self._lib.llama_model_get_vocab(self._model)
        self.size: int = self._lib.llama_vocab_n_tokens(self._vocab)
        self.metadata: dict[str, str] = dict(self._read_metadata())
        self.chat_template: str = self.metadata.get("tokenizer.chat_template", "")
        self.bos: int = self._lib.llama_vocab_bos(self._vocab)
        self.adds_bos: bool = bool(self._lib.llama_vocab_get_add_bos(self._vocab)) and self.bos >= 0
        self._pieces: dict[int, bytes] = {}

    def __del__(self) -> None:
        # Freed when nobody holds it, so that no other thread can be inside a call.
        if getattr(self, "_model", None):
            self._lib.llama_model_free(self._model)

    def tokenize(self, text: str, *, markers: bool) -> list[int]:
        """Tokens of `text`, without a leading begin-of-text token.

        Args:
            text: any text; lone surrogates become U+FFFD.
            markers: whether control tokens written out (`<|end|>`) become those tokens, or stay text.
        """
        data = clean(text).encode()
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

    def is_control(self, token: int) -> bool:
        """Whether the token is a control token, such as a role marker."""
        return bool(self._lib.llama_vocab_is_control(self._vocab, token))

    def _read_metadata(self) -> Iterator[tuple[str, str]]:
        for i in range(self._lib.llama_model_meta_count(self._model)):
            key = _read_string(self._lib.llama_model_meta_key_by_index, self._model, i)
            yield key, _read_string(self._lib.llama_model_meta_val_str_by_index, self._model, i)


class Weights:
    """A model loaded into memory, and onto the GPU where the build can.

    Raises:
        ModelLoadError: llama.cpp refuses the file, or memory does not suffice.
    """

    def __init__(self, path: Path, settings: EngineSettings) -> None:
        self._lib = _llama()
        params = self._lib.llama_model_default_params()
        params.n_gpu_layers = settings.n_gpu_layers
        params.load_mode = 1 if settings.use_mmap else 0
        self.pointer = _load(path, params)
        self.n_ctx_train: int = self._lib.llama_model_n_ctx_train(self.pointer)
        # A recurrent state cannot be cut back to a prefix.
        self.recurrent = bool(
            self._lib.llama_model_is_recurrent(self.pointer) or self._lib.llama_model_is_hybrid(self.pointer)
        )

    def kv_bytes_per_token(self, settings: EngineSettings) -> float:
        """Bytes of KV cache that one token takes in all layers."""
        lib, model = self._lib, self.pointer
        head = lib.llama_model_n_embd(model) / max(1, lib.llama_model_n_head(model))
        width = head * lib.llama_model_n_head_kv(model) * lib.llama_model_n_layer(model)
        return float(width * (_KV_BITS[settings.type_k] + _KV_BITS[settings.type_v]) / 8)

    def close(self) -> None:
        """Free the weights. No context on them may be alive."""
        if self.pointer:
            self._lib.llama_model_free(self.pointer)
            self.pointer = None


@dataclass(slots=True)
class BatchItem:
    """One token to evaluate: where it stands in which sequence, and whether its logits are wanted."""

    token: int
    position: int
    sequence: int
    logits: bool


class Context:
    """A KV cache of `cells` tokens shared by `n_sequences` sequences, and the evaluation of batches in it.

    Args:
        weights: the model.
        settings: threads, batch size, KV types.
        cells: tokens that the cache can hold, over all sequences.
        threads: (for generating, for reading prompts).

    Raises:
        ModelLoadError: the cache does not fit into memory.
    """

    def __init__(self, weights: Weights, settings: EngineSettings, cells: int, threads: tuple[int, int]) -> None:
        self._lib = lib = _llama()
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = cells, settings.n_batch, min(settings.n_batch, 512)
        params.n_seq_max, params.kv_unified, params.swa_full = settings.n_sequences, True, True
        params.n_threads, params.n_threads_batch = threads
        params.flash_attn_type = _FLASH_ATTN[settings.flash_attn]
        params.type_k, params.type_v = _KV_TYPES[settings.type_k], _KV_TYPES[settings.type_v]
        self._pointer = lib.llama_init_from_model(weights.pointer, params)
        if not self._pointer:
            raise ModelLoadError(
                f"llama.cpp could not make a context of {cells} tokens (K {settings.type_k}, V {settings.type_v}, "
                f"flash attention {settings.flash_attn}): it needs "
                f"{weights.kv_bytes_per_token(settings) * cells / 1e6:.0f} MB for the KV cache.",
                hint="Use a smaller n_ctx, or type_k = type_v = 'q8_0' with flash attention on.",
            )
        self._memory = lib.llama_get_memory(self._pointer)
        self._batch = lib.llama_batch_init(settings.n_batch, 0, 1)
        self._n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(weights.pointer))
        self._abort = ctypes.create_string_buffer(2)
        self._install_abort()

    def _install_abort(self) -> None:
        """Let `abort()` end a running `decode` between two operations of the graph.

        llama.cpp asks `bool f(void *)` after every operation. A Python function there would fight for the GIL
        thousands of times per token; C's `strlen` of our two-byte buffer is such an f: 0 until the first byte is set.
        """
        libc = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
        callback = ctypes.cast(libc.strlen, self._lib.llama_cpp.ggml_abort_callback)
        self._lib.llama_set_abort_callback(self._pointer, callback, ctypes.cast(self._abort, ctypes.c_void_p))

    def abort(self) -> None:
        """Make the running `decode` (or the next) return ABORTED. May be called from any thread."""
        self._abort[0] = b"\x01"

    def clear_abort(self) -> None:
        """Forget an earlier `abort()`."""
        self._abort[0] = b"\x00"

    def decode(self, items: Sequence[BatchItem]) -> int:
        """Evaluate a batch.

        Returns:
            0, ABORTED (some items may be in the cache), or NO_SLOT (the cache is full; nothing was done).

        Raises:
            EngineError: llama.cpp failed.
        """
        batch = self._batch
        batch.n_tokens = len(items)
        for i, item in enumerate(items):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = item.token, item.position, 1
            batch.seq_id[i][0], batch.logits[i] = item.sequence, item.logits
        status = int(self._lib.llama_decode(self._pointer, batch))
        if status not in (0, ABORTED, NO_SLOT):
            raise EngineError(
                f"llama.cpp failed to evaluate a batch of {len(items)} tokens (llama_decode returned {status}).",
                hint="Send the message again; if it stays so, run `phireside doctor`.",
            )
        return status

    def logits(self, index: int) -> NDArray[np.float32]:
        """The logits of a batch item (shape: vocabulary), valid until the next `decode`."""
        pointer = self._lib.llama_get_logits_ith(self._pointer, index)
        return np.ctypeslib.as_array(pointer, (self._n_vocab,))

    def sample(self, sampler: "Sampler", index: int) -> int:
        """Choose the token that follows a batch item, and tell the sampler."""
        return int(self._lib.llama_sampler_sample(sampler.pointer, self._pointer, index))

    def trim(self, sequence: int, length: int) -> bool:
        """Forget all tokens of a sequence from position `length` on; False if the model cannot."""
        return bool(self._lib.llama_memory_seq_rm(self._memory, sequence, length, -1))

    def copy(self, source: int, target: int, length: int) -> None:
        """Let an empty `target` share the first `length` tokens of `source`; the cells are not copied."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def close(self) -> None:
        """Free the cache."""
        if self._pointer:
            self._lib.llama_batch_free(self._batch)
            self._lib.llama_free(self._pointer)
            self._pointer = None


class Sampler:
    """llama.cpp's chain of samplers: penalties, top-k, top-p, min-p, temperature, then a draw; greedy at 0.

    Args:
        n_vocab: size of the vocabulary.
        temperature, top_k, top_p, min_p: as in the book's chapter 6; `top_k` 0 means all. A temperature below 1e-6 is
            greedy too: logits divided by it could overflow.
        repeat_penalty: 1.0 = none; applies to the last 64 tokens, those of the prompt included.
        seed: of the draw, 32 bits.
    """

    LOOK_BACK = 64

    def __init__(
        self,
        n_vocab: int,
        *,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        repeat_penalty: float,
        seed: int,
    ) -> None:
        self._lib = lib = _llama()
        self.pointer = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        self._penalizes = repeat_penalty != 1.0
        chain = []
        if self._penalizes:
            chain.append(lib.llama_sampler_init_penalties(n_vocab, self.LOOK_BACK, repeat_penalty, 0.0, 0.0))
        if temperature >= 1e-6:
            chain += [lib.llama_sampler_init_top_k(top_k)] if top_k else []
            chain += [lib.llama_sampler_init_top_p(top_p, 1), lib.llama_sampler_init_min_p(min_p, 1)]
            chain += [lib.llama_sampler_init_temp(temperature), lib.llama_sampler_init_dist(seed)]
        else:
            chain.append(lib.llama_sampler_init_greedy())
        for link in chain:
            lib.llama_sampler_chain_add(self.pointer, link)

    def accept(self, tokens: Sequence[int]) -> None:
        """Tell the repetition penalty, if there is one, what stands before."""
        for token in tokens if self._penalizes else ():
            self._lib.llama_sampler_accept(self.pointer, token)

    def close(self) -> None:
        """Free the chain."""
        if self.pointer:
            self._lib.llama_sampler_free(self.pointer)
            self.pointer = None


def clean(text: str) -> str:
    """Text that UTF-8 can carry: lone surrogates become U+FFFD, surrogate pairs the character they mean."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _load(path: Path, params: object) -> object:
    lib = _llama()
    _complaints.clear()
    model = lib.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise ModelLoadError(
            f"llama.cpp cannot load {path}: {'; '.join(_complaints) or 'it does not say why'}.",
            hint="The file may be damaged, larger than memory, or of an architecture that is not known here; "
            f"`phireside models info '{path}'` tells.",
        )
    return model


def _read_string(function: Callable[..., int], *args: object) -> str:
    """Call a llama.cpp function that fills a string buffer, with a buffer as large as it asks for."""
    size = 256
    while True:
        buffer = ctypes.create_string_buffer(size)
        needed = function(*args, buffer, size)
        if needed < size:
            return buffer.value.decode("utf-8", "replace")
        size = needed + 1
