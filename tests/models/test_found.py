"""Models of other programs, in folders laid out as these programs do."""

import json
import os
import shutil
from pathlib import Path

import pytest

from phireside.errors import ModelDamagedError
from phireside.models.catalog import Catalog
from phireside.models.found import ModelFolders, find_models
from phireside.models.integrity import file_sha256
from phireside.settings import Settings

PHI_3 = "microsoft/Phi-3-mini-4k-instruct-gguf/Phi-3-mini-4k-instruct-q4.gguf"


def hugging_face(cache: Path, hub: str, weights: Path, commit: str = "c1", name: str | None = None) -> Path:
    """Put a file into a Hugging Face cache; `name` is the blob's, by default its sha256."""
    owner, repo, filename = hub.split("/", 2)
    folder = cache / f"models--{owner}--{repo}"
    blob = folder / "blobs" / (name or file_sha256(weights))
    blob.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(weights, blob)
    link = folder / "snapshots" / commit / filename
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(blob)
    return link


def ollama(folder: Path, place: str, weights: Path) -> Path:
    """Put a model into an Ollama folder; returns its manifest."""
    digest = file_sha256(weights)
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    shutil.copy(weights, folder / "blobs" / f"sha256-{digest}")
    manifest = folder / "manifests" / place
    manifest.parent.mkdir(parents=True, exist_ok=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.template", "digest": f"sha256:{'0' * 64}"},
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"},
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return manifest


def test_phi_3_in_hugging_faces_cache_is_phi_3(settings: Settings, tmp_path: Path, tiny_phi3: Path) -> None:
    path = hugging_face(tmp_path / "hub", PHI_3, tiny_phi3)
    catalog = Catalog(settings, ModelFolders(hugging_face=(tmp_path / "hub",)))
    entry = catalog.resolve()
    assert (entry.name, entry.path, entry.sha256) == ("phi-3", path, file_sha256(tiny_phi3))
    assert [entry.name for entry in catalog.entries()] == ["phi-3", "phi-3-fp16", "starter"]


def test_a_file_in_the_cache_has_its_name_as_its_hash(settings: Settings, tmp_path: Path, tiny_phi3: Path) -> None:
    path = hugging_face(tmp_path / "hub", "o/r/sub/x.gguf", tiny_phi3)
    catalog = Catalog(settings, ModelFolders(hugging_face=(tmp_path / "hub",)))
    assert catalog.find("hf:o/r/sub/x.gguf").sha256 == file_sha256(tiny_phi3)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelDamagedError, match=file_sha256(tiny_phi3)):  # on the very first use
        catalog.resolve("hf:o/r/sub/x.gguf")


@pytest.mark.parametrize("main", ["c0", "c1"])
def test_of_two_snapshots_the_one_that_main_names_is_used(
    tmp_path: Path, tiny_phi3: Path, tiny_chatml: Path, main: str
) -> None:
    cache = tmp_path / "hub"
    hugging_face(cache, "o/r/x.gguf", tiny_phi3, commit="c0")
    hugging_face(cache, "o/r/x.gguf", tiny_chatml, commit="c1")
    (cache / "models--o--r/refs").mkdir()
    (cache / "models--o--r/refs/main").write_text(main)
    (found,) = find_models(ModelFolders(hugging_face=(cache,)))
    assert found.path == cache / "models--o--r/snapshots" / main / "x.gguf"


def test_what_the_cache_no_longer_holds_is_passed_over(tmp_path: Path, tiny_phi3: Path) -> None:
    link = hugging_face(tmp_path / "hub", "o/r/x.gguf", tiny_phi3)
    link.resolve().unlink()
    hugging_face(tmp_path / "hub", "o/r/mmproj-model-f16.gguf", tiny_phi3, name="0" * 64)  # no model of its own
    assert find_models(ModelFolders(hugging_face=(tmp_path / "hub",))) == []


def test_lm_studio(settings: Settings, tmp_path: Path, tiny_phi3: Path) -> None:
    path = tmp_path / "lms/pub/repo/x.gguf"
    path.parent.mkdir(parents=True)
    shutil.copy(tiny_phi3, path)
    shutil.copy(tiny_phi3, path.with_name("Phi-3-mini-4k-instruct-Q4.gguf"))
    catalog = Catalog(settings, ModelFolders(lm_studio=(tmp_path / "lms",)))
    entry = catalog.resolve("lmstudio:pub/repo/x.gguf")
    assert (entry.path, entry.origin, entry.hub) == (path, "found", "pub/repo/x.gguf")
    assert catalog.resolve("phi-3").path == path.with_name("Phi-3-mini-4k-instruct-Q4.gguf")


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("registry.ollama.ai/library/llama3.2/1b", "ollama:llama3.2:1b"),
        ("registry.ollama.ai/somebody/model/latest", "ollama:somebody/model:latest"),
        ("hf.co/owner/repo/Q4_K_M", "ollama:hf.co/owner/repo:Q4_K_M"),
    ],
)
def test_ollama(settings: Settings, tmp_path: Path, tiny_phi3: Path, place: str, name: str) -> None:
    ollama(tmp_path / "ollama", place, tiny_phi3)
    catalog = Catalog(settings, ModelFolders(ollama=(tmp_path / "ollama",)))
    entry = catalog.resolve(name)
    assert entry.path == tmp_path / "ollama/blobs" / f"sha256-{file_sha256(tiny_phi3)}"
    assert entry.sha256 == file_sha256(tiny_phi3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"layers": 3}',
        '{"layers": [3]}',
        '{"layers": []}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": 3}]}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../x"}]}',
        '{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:' + "0" * 64 + '"}]}',
        " " * (1 << 21),
    ],
)
def test_a_damaged_manifest_is_passed_over(tmp_path: Path, tiny_phi3: Path, text: str) -> None:
    folder = tmp_path / "ollama"
    ollama(folder, "registry.ollama.ai/library/bad/1b", tiny_phi3).write_text(text)
    ollama(folder, "registry.ollama.ai/library/good/1b", tiny_phi3)
    assert [model.name for model in find_models(ModelFolders(ollama=(folder,)))] == ["ollama:good:1b"]


def test_missing_and_unreadable_folders_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    folders = (tmp_path / "nothing", tmp_path / "file")
    assert find_models(ModelFolders(folders, folders, folders)) == []

    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "glob", refuse)
    assert find_models(ModelFolders(folders, folders, folders)) == []


def test_the_programs_own_environment_variables_are_heeded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("HF_", "XDG_", "OLLAMA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "/home/anna")
    usual = ModelFolders.of_this_machine()
    assert usual.hugging_face == (Path("/home/anna/.cache/huggingface/hub"),)
    assert usual.lm_studio[0] == Path("/home/anna/.lmstudio/models")
    assert usual.ollama[0] == Path("/home/anna/.ollama/models")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert ModelFolders.of_this_machine().hugging_face == (Path("/cache/huggingface/hub"),)
    monkeypatch.setenv("HF_HOME", "/hf")
    assert ModelFolders.of_this_machine().hugging_face == (Path("/hf/hub"),)
    monkeypatch.setenv("HF_HUB_CACHE", "/hub")
    monkeypatch.setenv("OLLAMA_MODELS", "/ollama")
    folders = ModelFolders.of_this_machine()
    assert (folders.hugging_face, folders.ollama) == ((Path("/hub"),), (Path("/ollama"),))
