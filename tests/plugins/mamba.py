"""A random recurrent model (Mamba), one layer of 0.5 MB: its state cannot be cut back to a prefix."""

from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np

WIDTH, INNER, STATE, KERNEL, RANK, VOCABULARY = 64, 128, 16, 4, 8, 320


def write_mamba(path: Path) -> Path:
    """Write the model; the same each time."""
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_ssm_conv_kernel(KERNEL)
    writer.add_ssm_inner_size(INNER)
    writer.add_ssm_state_size(STATE)
    writer.add_ssm_time_step_rank(RANK)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    words = [f"w{i}" for i in range(VOCABULARY - len(tokens))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*tokens, *words])
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types([*kinds, *[gguf.TokenType.NORMAL] * len(words)])
    for name, tensor in _tensors(np.random.default_rng(0)):
        writer.add_tensor(name, tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(chance: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    def matrix(rows: int, columns: int) -> np.ndarray:
        return chance.standard_normal((rows, columns)) / np.sqrt(columns)

    words = (np.arange(VOCABULARY) > 2)[:, None]  # the control tokens are never the likeliest
    yield "token_embd.weight", matrix(VOCABULARY, WIDTH) * words
    yield "output.weight", 9 * matrix(VOCABULARY, WIDTH) * words
    yield "output_norm.weight", np.ones(WIDTH)
    yield "blk.0.attn_norm.weight", np.ones(WIDTH)
    yield "blk.0.ssm_in.weight", matrix(2 * INNER, WIDTH)
    yield "blk.0.ssm_conv1d.weight", matrix(INNER, KERNEL)
    yield "blk.0.ssm_conv1d.bias", np.zeros(INNER)
    yield "blk.0.ssm_x.weight", matrix(RANK + 2 * STATE, INNER)
    yield "blk.0.ssm_dt.weight", matrix(INNER, RANK)
    yield "blk.0.ssm_dt.bias", np.zeros(INNER)
    yield "blk.0.ssm_a", -np.exp(chance.standard_normal((INNER, STATE)))
    yield "blk.0.ssm_d", np.ones(INNER)
    yield "blk.0.ssm_out.weight", matrix(WIDTH, INNER)
