"""llama.cpp without anything on top: one context, one sequence, greedy. The peer of `phireside bench` and benchmarks.

It knows no texts, no grammar, no history, no clock and no thread of its own, so nothing in Python can be much faster.
It loads a file as the engine would.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from phireside.errors import EngineError
from phireside.models.engine.context import FLASH_ATTN, Weights
from phireside.models.engine.library import llama
from phireside.settings import EngineSettings


class Bare:
    """A model, loaded.

    Args:
        path: a GGUF file.
        settings: of which GPU layers, mapping, batch size and flash attention are taken; the KV cache is of f16.
        n_ctx: tokens of context.
        threads: for generating, and for reading prompts.

    Raises:
        ModelLoadError: llama.cpp refuses the file.
        EngineError: here and in all methods: llama.cpp refuses something else.
    """

    def __init__(self, path: Path, settings: EngineSettings, n_ctx: int, threads: tuple[int, int]) -> None:
        self._lib = lib = llama()
        self._weights = Weights(path, settings)
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = n_ctx, settings.n_batch, min(settings.n_batch, 512)
        params.n_threads, params.n_threads_batch = threads
        params.flash_attn_type = FLASH_ATTN[settings.flash_attn]
        self._context = lib.llama_init_from_model(self._weights.pointer, params)
        if not self._context:
            self._weights.close()
            raise EngineError(f"llama.cpp could not make a context of {n_ctx} tokens.", hint="Use a smaller n_ctx.")
        self._sampler = lib.llama_sampler_init_greedy()
        self._n_batch = settings.n_batch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lib.llama_sampler_free(self._sampler)
        self._lib.llama_free(self._context)
        self._weights.close()

    def use_threads(self, threads: int) -> None:
        """Change the number of threads from now on."""
        self._lib.llama_set_n_threads(self._context, threads, threads)

    def read(self, tokens: Sequence[int], *, cached: int = 0) -> int:
        """Evaluate a prompt, and choose the first token of its answer.

        Args:
            tokens: of the prompt.
            cached: how many of the first an earlier call has left in the cache.
        """
        self._lib.llama_memory_seq_rm(self._lib.llama_get_memory(self._context), 0, cached, -1)
        for at in range(cached, len(tokens), self._n_batch):
            self._evaluate(tokens[at : at + self._n_batch])
        return self._sample()

    def write(self, count: int) -> list[int]:
        """So many tokens more than the first; the model's own end is ignored."""
        tokens = []
        for _ in range(count):
            self._evaluate([self._last])
            tokens.append(self._sample())
        return tokens

    def _sample(self) -> int:
        self._last = int(self._lib.llama_sampler_sample(self._sampler, self._context, -1))
        return self._last

    def _evaluate(self, tokens: Sequence[int]) -> None:
        array = (self._lib.llama_token * len(tokens))(*tokens)
        if status := self._lib.llama_decode(self._context, self._lib.llama_batch_get_one(array, len(tokens))):
            raise EngineError(f"llama_decode returned {status} for {len(tokens)} tokens.")
