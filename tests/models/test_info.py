"""Memory needs, against what llama.cpp 0.3.36 said it allocated for the same files and settings."""

from pathlib import Path

import pytest

from phireside.models.gguf_file import Array, GgufFile, Tensor, read_gguf
from phireside.models.info import describe, memory_need
from phireside.settings import EngineSettings, KvType

MIB = 1 << 20


@pytest.mark.parametrize(
    ("n_ctx", "n_batch", "kv_type", "kv_mib", "compute_mib"),
    [
        (8192, 256, "f16", 180.00, 49.13),
        (2048, 256, "q8_0", 23.91, 49.69),
        (2048, 512, "f16", 45.00, 102.51),
        (8192, 64, "f16", 180.00, 12.28),
    ],
)
def test_the_starter_needs_what_llama_cpp_allocates(
    starter_path: Path, n_ctx: int, n_batch: int, kv_type: KvType, kv_mib: float, compute_mib: float
) -> None:
    engine = EngineSettings(n_ctx=n_ctx, cache_tokens=n_ctx, n_batch=n_batch, type_k=kv_type, type_v=kv_type)
    need = memory_need(read_gguf(starter_path), engine)
    assert round(need.weights / MIB, 2) == 92.10  # "CPU_Mapped model buffer size"
    assert round(need.kv_cache / MIB, 2) == kv_mib  # "llama_kv_cache: size"
    assert need.compute / MIB == pytest.approx(compute_mib, rel=0.06)  # "CPU compute buffer size"


def test_the_cache_may_hold_more_than_one_context(tiny_phi3: Path) -> None:
    file = read_gguf(tiny_phi3)
    one, four = (memory_need(file, EngineSettings(cache_tokens=tokens)) for tokens in (4096, 16_384))
    assert (one.n_ctx, one.cells, four.n_ctx, four.cells) == (4096, 4096, 4096, 16_384)
    assert four.kv_cache == 4 * one.kv_cache == 4 * MIB


def test_each_layer_on_the_gpu_takes_its_weights_and_cache_along(starter_path: Path) -> None:
    file = read_gguf(starter_path)
    gpu = [memory_need(file, EngineSettings(n_gpu_layers=n, cache_tokens=8192)).gpu for n in (0, 1, 29, 30, 31, 99, -1)]
    assert gpu[0] == 0
    assert gpu == sorted(gpu)
    assert gpu[1] == sum(t.size for t in file.tensors if t.name.startswith("blk.29.")) + 180 * MIB // 30
    assert gpu[4] == gpu[5] == gpu[6]
    embeddings = next(t.size for t in file.tensors if t.name == "token_embd.weight")
    assert gpu[4] - gpu[3] == embeddings + 2304  # tied: the output is a copy of the embeddings, and output_norm


def test_it_says_whether_it_fits(tiny_phi3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = read_gguf(tiny_phi3)
    need = memory_need(file, EngineSettings())
    monkeypatch.setattr(
        "phireside.models.info.psutil.virtual_memory", lambda: type("Memory", (), {"available": need.total})
    )
    assert memory_need(file, EngineSettings()).fits
    monkeypatch.setattr(
        "phireside.models.info.psutil.virtual_memory", lambda: type("Memory", (), {"available": need.total - 1})
    )
    assert not memory_need(file, EngineSettings()).fits


def bare(metadata: dict[str, int | str | Array], kind: int = 12) -> GgufFile:
    tensors = (Tensor("a", (256, 4), kind, 0, 576), Tensor("b", (4,), 0, 576, 16))
    return GgufFile(Path("x.gguf"), 1000, {"general.architecture": "x", **metadata}, tensors)


def test_a_file_that_says_little_is_described_as_far_as_it_goes() -> None:
    info = describe("x", bare({}), EngineSettings())
    assert (info.parameters, info.quantization) == (1028, "Q4_K")
    assert (info.layers, info.heads, info.trained_context, info.vocabulary, info.chat_template) == (None,) * 5
    assert (info.memory.n_ctx, info.memory.kv_cache) == (8192, 0)


@pytest.mark.parametrize(("number", "name"), [(0, "F32"), (15, "Q4_K_M"), (4, "Q4_K"), (1024, "Q4_K")])
def test_quantization_is_the_files_word_if_that_is_known(number: int, name: str) -> None:
    assert describe("x", bare({"general.file_type": number}), EngineSettings()).quantization == name


def test_layers_with_different_heads_are_added_up() -> None:
    file = bare(
        {
            "x.block_count": 2,
            "x.embedding_length": 64,
            "x.attention.head_count": 4,
            "x.attention.head_count_kv": Array(2, (4, 1)),
            "x.attention.key_length": 32,
            "x.attention.value_length": 16,
        }
    )
    info = describe("x", file, EngineSettings(cache_tokens=10, n_ctx=10))
    assert (info.heads, info.kv_heads) == (4, 4)
    assert info.memory.kv_cache == 10 * 2 * (4 + 1) * (32 + 16)


@pytest.mark.parametrize("number", [-1, 0, 2**31, 2**63])
def test_absurd_numbers_cost_nothing(number: int) -> None:
    keys = ("block_count", "embedding_length", "attention.head_count", "attention.head_count_kv", "context_length")
    info = describe("x", bare({f"x.{key}": number for key in keys}), EngineSettings())
    assert info.layers == number
