"""llama.cpp without anything on top: one context, one sequence, greedy. The peer of benchmarks/decode.py.

Written on llama_cpp's low-level API, with llama.cpp's own greedy sampler; it turns no token into text and keeps no
history, so nothing in Python can be much faster.
"""

import ctypes
from pathlib import Path
from types import TracebackType

import llama_cpp
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

FLASH_ATTN = {"auto": -1, "off": 0, "on": 1}


class Bare:
    """A model and a context of one sequence.

    Args:
        path: the GGUF file.
        n_ctx: tokens of context.
        threads: for generating and for reading prompts.
        n_batch: most tokens evaluated in one step.
        flash_attn: "auto", "on" or "off".
    """

    def __init__(self, path: Path, *, n_ctx: int, threads: int, n_batch: int, flash_attn: str = "auto") -> None:
        llama_cpp.llama_backend_init()
        llama_cpp.llama_log_set(_SILENT, None)
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self._model:
            raise SystemExit(f"llama.cpp cannot load {path}.")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = n_ctx, n_batch, min(n_batch, 512)
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = FLASH_ATTN[flash_attn]
        self._context = llama_cpp.llama_init_from_model(self._model, params)
        if not self._context:
            raise SystemExit(f"llama.cpp cannot make a context of {n_ctx} tokens.")
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._n_batch = n_batch
        self._sampler = llama_cpp.llama_sampler_init_greedy()

    def __enter__(self) -> "Bare":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        llama_cpp.llama_sampler_free(self._sampler)
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    def use_threads(self, threads: int) -> None:
        """Change the number of threads from now on."""
        llama_cpp.llama_set_n_threads(self._context, threads, threads)

    def tokenize(self, text: str) -> list[int]:
        """Tokens of a text; markers such as `<|user|>` become control tokens."""
        data = text.encode()
        buffer = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(self._vocab, data, len(data), buffer, len(buffer), True, True)
        return list(buffer[:count])

    def prompt(self, text: str) -> list[int]:
        """The tokens of a first user message in the model's own chat template, ready for the answer."""
        template = llama_cpp.llama_model_chat_template(self._model, None).decode()
        formatter = Jinja2ChatFormatter(template=template, bos_token="", eos_token="")  # `tokenize` adds the first
        return self.tokenize(formatter(messages=[{"role": "user", "content": text}]).prompt)

    def text(self, tokens: list[int]) -> str:
        """The text of some tokens."""
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        buffer = ctypes.create_string_buffer(64 * len(tokens))
        size = llama_cpp.llama_detokenize(self._vocab, array, len(tokens), buffer, len(buffer), False, False)
        return buffer.raw[:size].decode("utf-8", "replace")

    def read(self, tokens: list[int], *, cached: int = 0) -> None:
        """Evaluate a prompt, but for its first `cached` tokens, which an earlier call has left in the cache."""
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self._context), 0, cached, -1)
        for i in range(cached, len(tokens), self._n_batch):
            self._evaluate(tokens[i : i + self._n_batch])
        llama_cpp.llama_synchronize(self._context)

    def write(self, count: int) -> list[int]:
        """Continue greedily what was read, by `count` tokens; the model's own end is ignored."""
        tokens = [self._sample()]
        while len(tokens) < count:
            self._evaluate(tokens[-1:])
            tokens.append(self._sample())
        return tokens

    def _sample(self) -> int:
        return int(llama_cpp.llama_sampler_sample(self._sampler, self._context, -1))

    def _evaluate(self, tokens: list[int]) -> None:
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        status = llama_cpp.llama_decode(self._context, llama_cpp.llama_batch_get_one(array, len(tokens)))
        if status:
            raise SystemExit(f"llama_decode returned {status} for {len(tokens)} tokens.")


@llama_cpp.llama_log_callback
def _SILENT(level: int, text: bytes, data: object) -> None:  # noqa: N802 (a constant to its users)
    """Drop llama.cpp's log; must live as long as the library."""
