"""A model's weights, and the KV cache in which batches are evaluated.

Knows nothing of requests, threads or scheduling: whoever holds a `Context` must be its only user.
"""

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phireside.errors import EngineError, GrammarError, ModelLoadError
from phireside.models.engine.library import llama, load_model
from phireside.models.engine.sampler import Sampler
from phireside.models.ggml_types import TENSOR_TYPES, TYPE_IDS
from phireside.models.grammar import Matcher
from phireside.settings import EngineSettings

FLASH_ATTN = {"auto": -1, "off": 0, "on": 1}

_DRAWS = 100  # within a grammar; a few are usual near the last token
ABORTED, NO_SLOT = 2, 1  # what Context.decode returns besides 0


class Weights:
    """A model loaded into memory, and onto the GPU where the build can.

    Raises:
        ModelLoadError: llama.cpp refuses the file, or memory does not suffice.
    """

    def __init__(self, path: Path, settings: EngineSettings) -> None:
        self._lib = llama()
        params = self._lib.llama_model_default_params()
        params.n_gpu_layers = settings.n_gpu_layers
        params.load_mode = 1 if settings.use_mmap else 0
        self.pointer = load_model(path, params)
        # A recurrent state cannot be cut back to a prefix.
        self.recurrent = bool(
            self._lib.llama_model_is_recurrent(self.pointer) or self._lib.llama_model_is_hybrid(self.pointer)
        )

    def kv_bytes_per_token(self, settings: EngineSettings) -> float:
        """Bytes of KV cache that one token takes in all layers."""
        lib, model = self._lib, self.pointer
        head = lib.llama_model_n_embd(model) / max(1, lib.llama_model_n_head(model))
        width = head * lib.llama_model_n_head_kv(model) * lib.llama_model_n_layer(model)
        kinds = (TENSOR_TYPES[TYPE_IDS[kind]] for kind in (settings.type_k, settings.type_v))
        return float(width * sum(size / block for _, block, size in kinds))

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
    """A KV cache of `cells` tokens shared by `sequences` sequences, and the evaluation of batches in it.

    Args:
        weights: the model.
        settings: threads, batch size, KV types.
        cells: tokens that the cache can hold, over all sequences.
        sequences: how many there may be, at most 256.
        threads: (for generating, for reading prompts).

    Raises:
        ModelLoadError: the cache does not fit into memory.
    """

    def __init__(
        self, weights: Weights, settings: EngineSettings, cells: int, sequences: int, threads: tuple[int, int]
    ) -> None:
        self._lib = lib = llama()
        params = lib.llama_context_default_params()
        # llama.cpp aborts the process where a batch, or the cache, has no place for every sequence.
        n_batch = max(settings.n_batch, sequences)
        params.n_ctx, params.n_batch, params.n_ubatch = max(cells, n_batch), n_batch, min(n_batch, 512)
        params.n_seq_max, params.kv_unified, params.swa_full = sequences, True, True
        params.n_threads, params.n_threads_batch = threads
        params.flash_attn_type = FLASH_ATTN[settings.flash_attn]
        params.type_k, params.type_v = TYPE_IDS[settings.type_k], TYPE_IDS[settings.type_v]
        self._pointer = lib.llama_init_from_model(weights.pointer, params)
        if not self._pointer:
            raise ModelLoadError(
                f"llama.cpp could not make a context of {cells} tokens (K {settings.type_k}, V {settings.type_v}, "
                f"flash attention {settings.flash_attn}): it needs "
                f"{weights.kv_bytes_per_token(settings) * cells / 1e6:.0f} MB for the KV cache.",
                hint="Use a smaller n_ctx, or type_k = type_v = 'q8_0' with flash attention on.",
            )
        self._memory = lib.llama_get_memory(self._pointer)
        self._batch = batch = lib.llama_batch_init(n_batch, 0, 1)
        columns = (batch.token, batch.pos, batch.logits, batch.n_seq_id)
        # Views of llama.cpp's own memory: filling them is much faster than setting its fields one by one.
        self._tokens, self._positions, self._wanted, counts = (np.ctypeslib.as_array(c, (n_batch,)) for c in columns)
        self._sequences = [batch.seq_id[i] for i in range(n_batch)]
        counts[:] = 1
        self._row = ctypes.c_float * lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(weights.pointer))
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
        count = self._batch.n_tokens = len(items)
        self._tokens[:count] = [item.token for item in items]
        self._positions[:count] = [item.position for item in items]
        self._wanted[:count] = [item.logits for item in items]
        for sequence, item in zip(self._sequences, items, strict=False):
            sequence[0] = item.sequence
        status = int(self._lib.llama_decode(self._pointer, self._batch))
        if status not in (0, ABORTED, NO_SLOT):
            raise EngineError(
                f"llama.cpp failed to evaluate a batch of {len(items)} tokens (llama_decode returned {status}).",
                hint="Send the message again; if it stays so, run `phireside doctor`.",
            )
        return status

    def logits(self, index: int) -> NDArray[np.float32]:
        """The logits of a batch item (shape: vocabulary), valid until the next `decode`."""
        pointer = self._lib.llama_get_logits_ith(self._pointer, index)
        return np.frombuffer(self._row.from_address(ctypes.addressof(pointer.contents)), np.float32)

    def sample(self, sampler: Sampler, index: int, matcher: Matcher | None = None) -> int:
        """Choose the token that follows a batch item, within a grammar if there is one, and tell the sampler."""
        if matcher is None or sampler.plain:
            token = self._draw(sampler, index)
            if matcher is None or matcher.allows(token):  # asking for one token is much cheaper than the whole mask
                return token
        for _ in range(_DRAWS):
            self.logits(index)[~matcher.mask()] = -np.inf  # the sampler reads the same memory
            token = self._draw(sampler, index)
            if matcher.allows(token):  # a mask may hold tokens behind which the text could not end in time
                return token
        raise GrammarError(f"No token that the grammar allows was found in {_DRAWS} draws.", hint="Please report this.")

    def _draw(self, sampler: Sampler, index: int) -> int:
        if sampler.plain:
            return int(self.logits(index).argmax())
        return int(self._lib.llama_sampler_sample(sampler.pointer, self._pointer, index))

    def logprobs(self, index: int, tokens: Sequence[int]) -> NDArray[np.float64]:
        """Natural log-probabilities of some tokens to follow a batch item."""
        logits = self.logits(index)
        top = logits.max()
        total = np.log(np.exp(logits - top).sum(dtype=np.float64))
        return np.asarray(logits[list(tokens)] - top - total, np.float64)

    def trim(self, sequence: int, length: int) -> bool:
        """Forget all tokens of a sequence from position `length` on; False if the model cannot."""
        return bool(self._lib.llama_memory_seq_rm(self._memory, sequence, length, -1))

    def copy(self, source: int, target: int, length: int) -> None:
        """Let an empty `target` share the first `length` tokens of `source`; the cells are not copied."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def save_state(self, sequence: int) -> memoryview:
        """What the cache holds of a sequence, as bytes that `load_state` takes."""
        state = np.empty(self._lib.llama_state_seq_get_size(self._pointer, sequence), np.uint8)
        size = self._lib.llama_state_seq_get_data(self._pointer, _bytes(state), len(state), sequence)
        return state.data[:size]

    def load_state(self, sequence: int, state: memoryview) -> bool:
        """Fill an empty sequence; False if the bytes do not fit this model and cache, and then it is empty still."""
        data = np.frombuffer(state, np.uint8)
        if self._lib.llama_state_seq_set_data(self._pointer, _bytes(data), len(data), sequence):
            return True
        self.trim(sequence, 0)
        return False

    def close(self) -> None:
        """Free the cache."""
        if self._pointer:
            self._lib.llama_batch_free(self._batch)
            self._lib.llama_free(self._pointer)
            self._pointer = None


def _bytes(data: NDArray[np.uint8]) -> object:
    return data.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
