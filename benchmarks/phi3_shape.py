"""Writes a GGUF of the `phi3` architecture with random weights: Phi-3-mini-4k-instruct's shape in Q4_K, or a tiny one.

The speed of llama.cpp does not depend on the values of weights, so the full one stands in for the 2.4 GB download when
speed is measured; the tiny one lets tests walk Phi-3's path (tensors, tokenizer kind, special tokens, chat template).
Neither knows any language: what they generate is noise, the same noise for the same seed. The special tokens are never
the likeliest, so greedy decoding never ends by itself.

    python benchmarks/phi3_shape.py /tmp/phi3-shape.gguf          # 2.2 GB, seconds
    python benchmarks/phi3_shape.py --tiny /tmp/phi3-tiny.gguf    # 8.9 MB
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import Literal

import gguf
import numpy as np
import numpy.typing as npt

VOCABULARY = 32064
BOS, EOS = 1, 32000

# What microsoft/Phi-3-mini-4k-instruct-gguf ships under tokenizer.chat_template.
PHI3_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') %}"
    r"{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}"
    r"{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}"
)
PHI3_SPECIALS = {
    32000: "<|endoftext|>",
    32001: "<|assistant|>",
    32006: "<|system|>",
    32007: "<|end|>",
    32010: "<|user|>",
}
# SmolLM2's markup on the same weights: a template that has a system role.
CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CHATML_SPECIALS = {32000: "<|endoftext|>", 32001: "<|im_start|>", 32002: "<|im_end|>"}

Dialect = Literal["phi3", "chatml"]


@dataclass(frozen=True)
class Shape:
    """The sizes of a model; `quantized` = Q4_K, else F16. Norms are F32."""

    layers: int
    width: int
    heads: int
    feed_forward: int
    context: int
    quantized: bool


FULL = Shape(layers=32, width=3072, heads=32, feed_forward=8192, context=4096, quantized=True)
# 32 wide heads, so that every type of KV cache can be used.
TINY = Shape(layers=1, width=64, heads=2, feed_forward=128, context=4096, quantized=False)


@dataclass(frozen=True)
class Tensor:
    """A tensor to write: `rows` times `columns` random weights with a standard deviation of `gain` / √columns.

    One row = a norm, all ones. `silent` rows are zero.
    """

    name: str
    rows: int
    columns: int
    gain: float = 1.0
    silent: tuple[int, ...] = ()


def write_phi3(path: Path, *, tiny: bool, seed: int = 0, dialect: Dialect = "phi3") -> Path:
    """Write a random model of the `phi3` architecture.

    Args:
        path: the .gguf to write; it appears only when it is whole.
        tiny: one layer, 64 wide (8.9 MB), instead of Phi-3-mini's shape (2.2 GB).
        seed: equal seeds give equal files.
        dialect: the chat template and its special tokens: Phi-3's, or ChatML as SmolLM2 has it.

    Returns:
        `path`.
    """
    shape = TINY if tiny else FULL
    specials = PHI3_SPECIALS if dialect == "phi3" else CHATML_SPECIALS
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, "phi3")
    # llama.cpp looks for "phi-3" in the name: there, white space after a special token belongs to the token.
    writer.add_name("Phi-3-mini-4k-instruct, random weights" if dialect == "phi3" else "ChatML, random weights")
    _add_shape(writer, shape)
    _add_vocabulary(writer, specials)
    writer.add_chat_template(PHI3_TEMPLATE if dialect == "phi3" else CHATML_TEMPLATE)
    _write_tensors(writer, list(_tensors(shape, tuple(specials))), shape.quantized, np.random.default_rng(seed))
    writer.close()
    part.replace(path)
    return path


def _add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_vocab_size(VOCABULARY)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_block_count(shape.layers)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_S if shape.quantized else gguf.LlamaFileType.MOSTLY_F16)


def _add_vocabulary(writer: gguf.GGUFWriter, specials: dict[int, str]) -> None:
    """The Llama tokenizer's layout: `<unk> <s> </s>`, 256 bytes, text pieces, and the special tokens from 32000."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    tokens += islice(_pieces(), EOS - len(tokens))
    types += [gguf.TokenType.NORMAL] * (EOS - len(types))
    tokens += [specials.get(token, f"<|placeholder{token}|>") for token in range(EOS, VOCABULARY)]
    types += [gguf.TokenType.CONTROL] * (VOCABULARY - EOS)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0 if kind != gguf.TokenType.NORMAL else 259.0 - i for i, kind in enumerate(types)])
    writer.add_token_types(types)
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(EOS)
    writer.add_add_bos_token(True)


def _pieces() -> Iterator[str]:
    """Text pieces, shorter ones first: the tokenizer reaches a piece only through the pieces that it is merged from."""
    vowels, consonants = "aeiouy", "bcdfghjklmnpqrstvwxz"
    signs = [chr(code) for code in range(33, 127)]
    pairs = ["".join(letters) for letters in product(ascii_lowercase, repeat=2)]
    triples = ["".join(letters) for letters in product(ascii_lowercase, repeat=3)]
    spoken = [triple for triple in triples if set(triple) & set(vowels)]
    quads = ("".join(letters) for letters in product(consonants, vowels, consonants, vowels))
    starts = (f"▁{piece}" for piece in chain(signs, pairs, spoken))
    return chain(["▁", "▁▁", "▁▁▁▁"], signs, pairs, spoken, starts, quads)


def _tensors(shape: Shape, specials: tuple[int, ...]) -> Iterator[Tensor]:
    width = shape.width
    yield Tensor("token_embd.weight", VOCABULARY, width)
    # Zero logits for the tokens that end or mark a turn: among 32,000 random ones the greatest is above zero.
    yield Tensor("output.weight", VOCABULARY, width, silent=(0, BOS, 2, *range(EOS, VOCABULARY), *specials))
    yield Tensor("output_norm.weight", 1, width)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        yield Tensor(f"{block}.attn_norm.weight", 1, width)
        # A gain of 2 keeps attention from spreading evenly, so that the next token depends on the earlier ones.
        yield Tensor(f"{block}.attn_qkv.weight", 3 * width, width, gain=2.0)
        yield Tensor(f"{block}.attn_output.weight", width, width)
        yield Tensor(f"{block}.ffn_norm.weight", 1, width)
        yield Tensor(f"{block}.ffn_up.weight", 2 * shape.feed_forward, width)
        yield Tensor(f"{block}.ffn_down.weight", width, shape.feed_forward)


def _write_tensors(writer: gguf.GGUFWriter, tensors: list[Tensor], quantized: bool, rng: np.random.Generator) -> None:
    """Declare all tensors, then make and write one at a time, so that the whole model is never in memory."""
    kind = gguf.GGMLQuantizationType.Q4_K if quantized else gguf.GGMLQuantizationType.F16
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    for tensor in tensors:
        if tensor.rows == 1:
            writer.add_tensor_info(tensor.name, [tensor.columns], np.dtype(np.float32), 4 * tensor.columns)
        else:
            size = tensor.rows * tensor.columns // block * block_bytes
            dtype = np.dtype(np.float16)  # not looked at, beside a raw type
            writer.add_tensor_info(tensor.name, [tensor.rows, tensor.columns], dtype, size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        if tensor.rows == 1:
            writer.write_tensor_data(np.ones(tensor.columns, dtype=np.float32))
        else:
            writer.write_tensor_data(_random_q4_k(tensor, rng) if quantized else _random_f16(tensor, rng))


def _random_f16(tensor: Tensor, rng: np.random.Generator) -> npt.NDArray[np.float16]:
    weights = rng.standard_normal((tensor.rows, tensor.columns), dtype=np.float32)
    weights *= tensor.gain / np.sqrt(tensor.columns)
    weights[list(tensor.silent)] = 0
    return weights.astype(np.float16)


def _random_q4_k(tensor: Tensor, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Random Q4_K blocks: 256 weights in 144 bytes, w = d·scale·q - dmin·minimum (ggml's `block_q4_K`).

    Scales and minima (6 bits) and q (4 bits) may be any bytes; d and dmin are set, so that nothing is NaN or infinite.
    With uniform bytes and dmin = 7.5 d the mean of w is 0 and its standard deviation 258 d.
    """
    _, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q4_K]
    blocks = tensor.rows * tensor.columns // 256
    words = rng.integers(0, 2**64, size=blocks * block_bytes // 8, dtype=np.uint64)
    weights = words.view(np.uint8).reshape(tensor.rows, -1, block_bytes)
    d = tensor.gain / np.sqrt(tensor.columns) / 258
    weights[..., :4] = np.array([d, 7.5 * d], dtype=np.float16).view(np.uint8)
    weights[list(tensor.silent)] = 0
    return weights


def main() -> None:
    """Write the model that the command line asks for and print its size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="the .gguf to write")
    parser.add_argument("--tiny", action="store_true", help="one layer, 64 wide, F16: for tests")
    parser.add_argument(
        "--dialect", choices=["phi3", "chatml"], default="phi3", help="chat template and special tokens"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    path = write_phi3(options.path, tiny=options.tiny, seed=options.seed, dialect=options.dialect)
    print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB")


if __name__ == "__main__":
    main()
