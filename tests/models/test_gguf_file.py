"""Our reader against gguf's own writer and reader, and against files that lie."""

import os
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phireside.errors import ModelDamagedError, ModelNotFoundError
from phireside.models import gguf_file
from phireside.models.ggml_types import FILE_TYPES, TENSOR_TYPES
from phireside.models.gguf_file import Array, look_problem, read_gguf, structure_problem


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF with a value of every kind, a vocabulary longer than what is kept, and two tensors."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_float32("test.float", 0.5)
    writer.add_bool("test.flag", True)
    writer.add_int64("test.negative", -5)
    writer.add_string("test.text", "Grüße 🔥")
    writer.add_array("test.numbers", [1, 2, 3])
    writer.add_token_list([f"token{i}" for i in range(2000)])
    writer.add_token_types([1] * 2000)
    writer.add_tensor("token_embd.weight", np.ones((8, 32), dtype=np.float32))
    rows = gguf.quants.quantize(np.ones((4, 64), dtype=np.float32), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.ffn_up.weight", rows, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_reads_each_kind_of_value(small: Path) -> None:
    file = read_gguf(small)
    assert file.text("general.architecture") == "llama"
    assert file.number("llama.block_count") == 1
    assert file.metadata["test.float"] == 0.5
    assert file.metadata["test.flag"] is True
    assert file.number("test.negative") == -5
    assert file.text("test.text") == "Grüße 🔥"
    assert file.metadata["test.numbers"] == Array(3, (1, 2, 3))
    assert file.metadata["tokenizer.ggml.tokens"] == Array(2000, ())
    assert file.text("test.float") is None
    assert file.number("test.text") is None


@pytest.mark.parametrize("which", ["small", "tiny_phi3", "starter_path"])
def test_agrees_with_the_gguf_package(which: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(which)
    ours, theirs = read_gguf(path), gguf.GGUFReader(path)
    assert [(t.name, t.shape, t.type, t.start, t.size) for t in ours.tensors] == [
        (t.name, tuple(t.shape.tolist()), t.tensor_type.value, t.data_offset, t.n_bytes) for t in theirs.tensors
    ]
    fields = {key: field for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    assert ours.metadata.keys() == fields.keys()
    for key, value in ours.metadata.items():
        if isinstance(value, Array):
            assert value.length == len(fields[key].data)
        else:
            assert value == fields[key].contents()


def test_tables_agree_with_the_gguf_package() -> None:
    known = {kind.value: (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType}
    known[9] = ("Q8_1", 32, 36)  # gguf says 40, ggml_type_size(GGML_TYPE_Q8_1) says 36; no file holds this type
    assert {number: TENSOR_TYPES[number] for number in known} == known
    names = {kind.value: kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in gguf.LlamaFileType}
    names.pop(gguf.LlamaFileType.GUESSED)
    assert names == FILE_TYPES


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n <!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        (b"<html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS"),
        (b"PK\x03\x04" + bytes(100), "not with b'GGUF'"),
        (b"GGUF\x03\0\0\0", "truncated"),
        (b"GGUF\x01\0\0\0" + bytes(16), "version 1"),
        (b"GGUF\0\0\0\x03" + bytes(16), "little-endian"),
        (b"GGUF\x03\0\0\0" + bytes(16), "no weights"),
    ],
)
def test_says_what_a_file_is_instead(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelDamagedError, match=reason):
        read_gguf(path)
    assert reason in structure_problem(path)


def _header(tensors: int, keys: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys)


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _pair(key: bytes, kind: int, value: bytes) -> bytes:
    return _string(key) + struct.pack("<I", kind) + value


def _tensor(name: bytes, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    numbers = struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    return _string(name) + numbers


ARCH = _pair(b"general.architecture", 8, _string(b"llama"))
TOKENS = _pair(b"tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2))  # two strings follow
HUGE = 2**63 - 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (_header(HUGE, 1) + ARCH, "length of 9223372036854775807"),
        (_header(1, HUGE) + ARCH, "length of 9223372036854775807"),
        (_header(1, 1) + struct.pack("<Q", 2**62), "length of 4611686018427387904"),
        (_header(1, 2) + ARCH + ARCH, "there twice"),
        (_header(1, 1) + _pair(b"", 0, b"\0"), "empty or there twice"),
        (_header(1, 1) + _pair(b"key", 99, b""), "unknown type 99"),
        (_header(1, 1) + _pair(b"key", 9, struct.pack("<IQ", 9, 1) + bytes(99)), "unknown type 9"),
        (_header(1, 1) + _pair(b"key", 9, struct.pack("<IQ", 9, 2000) + bytes(9999)), "unknown type 9"),
        (_header(1, 1) + _pair(b"key", 9, struct.pack("<IQ", 4, HUGE)), "length of"),
        (_header(1, 1) + _pair(b"key", 9, struct.pack("<IQ", 12, 2000) + bytes(3000)), "16000 more bytes"),
        (_header(1, 1) + TOKENS + _string(b"a") + _string(b"a") + bytes(99), "two of its tokens are the same"),
        (_header(1, 2) + ARCH + _pair(b"general.alignment", 4, struct.pack("<I", 0)) + bytes(99), "power of two"),
        (_header(1, 2) + ARCH + _pair(b"general.alignment", 4, struct.pack("<I", 48)) + bytes(99), "power of two"),
        (_header(1, 2) + ARCH + _pair(b"general.alignment", 8, _string(b"32")) + bytes(99), "power of two"),
        (_header(1, 1) + ARCH + _tensor(b"a", (), 0, 0) + bytes(99), "0 dimensions"),
        (_header(1, 1) + ARCH + _tensor(b"a", (1,) * 5, 0, 0) + bytes(99), "5 dimensions"),
        (_header(1, 1) + ARCH + _tensor(b"a", (0, 4), 0, 0) + bytes(99), "shape"),
        (_header(1, 1) + ARCH + _tensor(b"a", (4,), 77, 0) + bytes(99), "type 77 is unknown"),
        (_header(1, 1) + ARCH + _tensor(b"a", (33,), 2, 0) + bytes(99), "whole number of blocks of 32"),
        (_header(1, 1) + ARCH + _tensor(b"a", (4,), 0, 64) + bytes(999), "starts at 64"),
        (_header(1, 1) + ARCH + _tensor(b"a", (2**62, 2**62), 0, 0) + bytes(99), "truncated"),
        (_header(2, 1) + ARCH + 2 * _tensor(b"a", (4,), 0, 0) + bytes(99), "same name"),
    ],
)
def test_refuses_a_front_that_lies(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelDamagedError, match=reason):
        read_gguf(path)


def test_a_front_larger_than_any_real_one_is_not_read(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_file, "_MAX_FRONT", 10_000)
    assert "take more than" in structure_problem(small)


def test_every_truncation_is_noticed(small: Path, tmp_path: Path) -> None:
    whole = small.read_bytes()
    tensors = read_gguf(small).tensors
    end = tensors[-1].start + tensors[-1].size  # what follows is padding
    path = tmp_path / "cut.gguf"
    for length in [*range(200), *range(200, end, 997), end - 1]:
        path.write_bytes(whole[:length])
        assert structure_problem(path), f"a file cut at byte {length} of {len(whole)} was taken for whole"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(place=st.integers(0, 2_000), value=st.binary(min_size=1, max_size=8))
def test_a_changed_front_is_read_or_refused_and_nothing_else(
    small: Path, tmp_path: Path, place: int, value: bytes
) -> None:
    whole = bytearray(small.read_bytes())
    whole[place : place + len(value)] = value
    path = tmp_path / "changed.gguf"
    path.write_bytes(whole)
    if structure_problem(path):
        with pytest.raises(ModelDamagedError):
            read_gguf(path)
    else:
        file = read_gguf(path)
        assert all(tensor.start + tensor.size <= file.size for tensor in file.tensors)


def test_a_missing_file_a_folder_and_a_pipe_are_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    for path in (tmp_path / "nothing.gguf", tmp_path, pipe):
        with pytest.raises(ModelNotFoundError):
            read_gguf(path)
        assert look_problem(path)


def test_a_file_without_rights_says_so(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelNotFoundError, match="Permission denied"):
        read_gguf(small)
    assert "Permission denied" in look_problem(small)


def test_a_file_in_a_locked_folder_is_out_of_reach(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(ModelNotFoundError, match="out of reach"):
        read_gguf(small)


def test_a_look_at_the_first_bytes_finds_no_fault_with_a_model(small: Path) -> None:
    assert look_problem(small) == ""
    assert structure_problem(small) == ""
