"""What a GGUF file says about its model, and how much memory it will take.

The numbers come from the file and the settings, without loading anything. What this does not know: how much memory a
GPU has, and the state of recurrent models (Mamba, RWKV), which have no KV cache to count.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import psutil

from phireside.models.ggml_types import FILE_TYPES, TENSOR_TYPES, TYPE_IDS, tensor_bytes
from phireside.models.gguf_file import Array, GgufFile
from phireside.settings import EngineSettings

_MAX_LAYERS = 1024  # a file may claim more; nothing that long is built
_LAYER = re.compile(r"blk\.(\d{1,6})\.")


@dataclass(frozen=True)
class MemoryNeed:
    """Memory that a model takes under some engine settings, in bytes.

    `compute` estimates llama.cpp's working buffer (the logits of one batch are most of it; within 6 % of what it
    allocated for SmolLM2-135M and a one-layer Phi-3). The rest is what it allocates.
    `gpu` is how much of all that goes to the GPU by `n_gpu_layers`, if this build of llama.cpp has one; else nothing.
    """

    n_ctx: int
    cells: int
    weights: int
    kv_cache: int
    compute: int
    gpu: int
    free: int

    @property
    def total(self) -> int:
        """All of it: what main memory has to hold without a GPU."""
        return self.weights + self.kv_cache + self.compute

    @property
    def fits(self) -> bool:
        """True if main memory has that much free now, without a GPU."""
        return self.total <= self.free


@dataclass(frozen=True)
class ModelInfo:
    """A model as its file describes it; None where the file says nothing."""

    name: str
    path: Path
    size: int
    title: str | None
    architecture: str
    parameters: int
    quantization: str
    trained_context: int | None
    embedding: int | None
    layers: int | None
    heads: int | None
    kv_heads: int | None
    vocabulary: int | None
    chat_template: str | None
    memory: MemoryNeed


def describe(name: str, file: GgufFile, engine: EngineSettings) -> ModelInfo:
    """Describe a model.

    Args:
        name: its name in the catalogue.
        file: the front of its file.
        engine: the settings that it would be loaded with.
    """
    arch = file.text("general.architecture") or "unknown"
    return ModelInfo(
        name=name,
        path=file.path,
        size=file.size,
        title=file.text("general.name"),
        architecture=arch,
        parameters=sum(math.prod(tensor.shape) for tensor in file.tensors),
        quantization=_quantization(file),
        trained_context=file.number(f"{arch}.context_length"),
        embedding=file.number(f"{arch}.embedding_length"),
        layers=file.number(f"{arch}.block_count"),
        heads=_largest(file, f"{arch}.attention.head_count"),
        kv_heads=_largest(file, f"{arch}.attention.head_count_kv"),
        vocabulary=_vocabulary(file, arch),
        chat_template=file.text("tokenizer.chat_template"),
        memory=memory_need(file, engine),
    )


def memory_need(file: GgufFile, engine: EngineSettings) -> MemoryNeed:
    """How much memory a model will take. Layers go to the GPU as in llama.cpp: the last ones first, then the output."""
    arch = file.text("general.architecture") or "unknown"
    n_ctx = engine.context(file.number(f"{arch}.context_length"))
    layers = file.number(f"{arch}.block_count") or 0
    wanted = layers + 1 if engine.n_gpu_layers < 0 else engine.n_gpu_layers
    first_on_gpu = max(layers - wanted, 0)
    per_cell = _kv_bytes_per_cell(file, arch, layers, engine)
    cells = engine.cells(n_ctx, sum(per_cell))
    cache = [cells * size for size in per_cell]
    on_gpu = sum(cache[first_on_gpu:]) + _weights_on_gpu(file, first_on_gpu, output=wanted > layers)
    return MemoryNeed(
        n_ctx=n_ctx,
        cells=cells,
        weights=sum(tensor.size for tensor in file.tensors),
        kv_cache=sum(cache),
        compute=_compute_buffer(file, arch, engine),
        gpu=on_gpu,
        free=psutil.virtual_memory().available,
    )


def _quantization(file: GgufFile) -> str:
    """The file's own word, else the type that most of its bytes have."""
    number = file.number("general.file_type")
    if number in FILE_TYPES:
        return FILE_TYPES[number]
    sizes: dict[str, int] = {}
    for tensor in file.tensors:
        kind = TENSOR_TYPES[tensor.type][0]
        sizes[kind] = sizes.get(kind, 0) + tensor.size
    return max(sizes, key=sizes.__getitem__, default="unknown")


def _vocabulary(file: GgufFile, arch: str) -> int | None:
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    return tokens.length if isinstance(tokens, Array) else file.number(f"{arch}.vocab_size")


def _per_layer(file: GgufFile, key: str, layers: int) -> list[int]:
    """A number for each layer; the file gives one for all, or an array. Empty if it gives none."""
    value = file.metadata.get(key)
    if isinstance(value, Array):
        return [item for item in value.elements if isinstance(item, int)][:layers]
    return [value] * min(layers, _MAX_LAYERS) if isinstance(value, int) else []


def _largest(file: GgufFile, key: str) -> int | None:
    return max(_per_layer(file, key, _MAX_LAYERS), default=None)


def _kv_bytes_per_cell(file: GgufFile, arch: str, layers: int, engine: EngineSettings) -> list[int]:
    """Bytes that one token takes in the KV cache of each layer: keys and values of all KV heads."""
    heads = _per_layer(file, f"{arch}.attention.head_count", layers)
    kv_heads = _per_layer(file, f"{arch}.attention.head_count_kv", layers) or heads
    size = (file.number(f"{arch}.embedding_length") or 0) // (max(heads, default=0) or 1)
    key_size = file.number(f"{arch}.attention.key_length") or size
    value_size = file.number(f"{arch}.attention.value_length") or size
    return [
        _row_bytes(count * key_size, engine.type_k) + _row_bytes(count * value_size, engine.type_v)
        for count in kv_heads
    ]


def _row_bytes(count: int, kind: str) -> int:
    """Bytes of `count` numbers in a KV cache type; llama.cpp demands whole blocks, here a part counts as one."""
    number = TYPE_IDS[kind]
    block = TENSOR_TYPES[number][1]
    return tensor_bytes((-(-count // block) * block,), number)


def _weights_on_gpu(file: GgufFile, first_layer: int, *, output: bool) -> int:
    """Bytes of the layers from `first_layer` on, and of the output; token embeddings stay in main memory."""
    tied = not any(tensor.name == "output.weight" for tensor in file.tensors)
    size = 0
    for tensor in file.tensors:
        layer = _LAYER.match(tensor.name)
        if layer:
            size += tensor.size if int(layer[1]) >= first_layer else 0
        elif output and (tensor.name.startswith("output") or (tied and tensor.name == "token_embd.weight")):
            size += tensor.size
    return size


def _compute_buffer(file: GgufFile, arch: str, engine: EngineSettings) -> int:
    """Logits and activations of one batch, as 32-bit floats."""
    return 4 * engine.n_batch * ((_vocabulary(file, arch) or 0) + (file.number(f"{arch}.embedding_length") or 0))
