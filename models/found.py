"""Model files that other programs have put on this machine: Hugging Face's cache, LM Studio, Ollama.

Reads folder listings and Ollama's manifests, never a model. What cannot be read is passed over: these folders are not
ours.
"""

import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from phireside.models.gguf_file import is_regular

log = logging.getLogger(__name__)

GGUF_FILES = "*.[gG][gG][uU][fF]"  # names differ in case, and so do systems in whether that matters to a pattern
_MAX_MANIFEST = 1 << 20  # bytes
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_OLLAMA_WEIGHTS = "application/vnd.ollama.image.model"


@dataclass(frozen=True)
class ModelFolders:
    """Where to look. Each is a tuple, of which any folder may be missing."""

    hugging_face: tuple[Path, ...] = ()
    lm_studio: tuple[Path, ...] = ()
    ollama: tuple[Path, ...] = ()

    @classmethod
    def of_this_machine(cls) -> "ModelFolders":
        """The programs' usual folders, with the environment variables that they themselves heed."""
        env, home = os.environ, Path.home()
        hugging_face = env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME") or home / ".cache", "huggingface")
        ollama = env.get("OLLAMA_MODELS")
        return cls(
            hugging_face=(Path(env.get("HF_HUB_CACHE") or Path(hugging_face, "hub")),),
            lm_studio=(home / ".lmstudio/models", home / ".cache/lm-studio/models"),
            ollama=(Path(ollama),) if ollama else (home / ".ollama/models", Path("/usr/share/ollama/.ollama/models")),
        )


@dataclass(frozen=True)
class FoundModel:
    """A model file of another program; `hub` is "owner/repo/file.gguf" where its place tells that."""

    name: str
    program: str
    path: Path
    hub: str | None


def find_models(folders: ModelFolders) -> list[FoundModel]:
    """All model files in these folders, each once, in the order of the programs above."""
    found: dict[Path, FoundModel] = {}
    for model in (
        *(model for folder in folders.hugging_face for model in _hugging_face(folder)),
        *(model for folder in folders.lm_studio for model in _lm_studio(folder)),
        *(model for folder in folders.ollama for model in _ollama(folder)),
    ):
        found.setdefault(model.path, model)
    return list(found.values())


def list_files(folder: Path, pattern: str) -> list[Path]:
    """The regular files (or links to one) that match, sorted; none if the folder cannot be read."""
    try:
        return sorted(filter(is_regular, folder.glob(pattern)))
    except OSError as error:
        log.debug("%s cannot be listed: %s", folder, error)
        return []


def _is_model(path: Path) -> bool:
    """False for the vision half of a model ("mmproj"), which is no model of its own."""
    return "mmproj" not in path.name.lower()


def _hugging_face(cache: Path) -> Iterator[FoundModel]:
    """`models--OWNER--REPO/snapshots/COMMIT/FILE`: the snapshot that `main` points to goes before older ones."""
    by_hub: dict[str, Path] = {}
    for path in filter(_is_model, list_files(cache, f"models--*--*/snapshots/*/**/{GGUF_FILES}")):
        repo_folder, _, commit, *rest = path.relative_to(cache).parts
        owner, _, repo = repo_folder.removeprefix("models--").partition("--")
        hub = "/".join((owner, repo, *rest))
        if hub not in by_hub or commit == _main_commit(cache / repo_folder):
            by_hub[hub] = path
    for hub, path in by_hub.items():
        yield FoundModel(f"hf:{hub}", "Hugging Face cache", path, hub)


def _main_commit(repo: Path) -> str:
    try:
        return (repo / "refs/main").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _lm_studio(folder: Path) -> Iterator[FoundModel]:
    """`PUBLISHER/REPO/FILE`, as on the hub."""
    for path in filter(_is_model, list_files(folder, f"*/*/{GGUF_FILES}")):
        hub = path.relative_to(folder).as_posix()
        yield FoundModel(f"lmstudio:{hub}", "LM Studio", path, hub)


def _ollama(folder: Path) -> Iterator[FoundModel]:
    """`manifests/HOST/OWNER/NAME/TAG` says which of `blobs/sha256-…` are the weights."""
    for manifest in list_files(folder / "manifests", "*/*/*/*"):
        host, owner, name, tag = manifest.relative_to(folder / "manifests").parts
        if digest := _weights_digest(manifest):
            path = folder / "blobs" / f"sha256-{digest}"
            places = (host, owner) if host != "registry.ollama.ai" else (owner,) if owner != "library" else ()
            if is_regular(path):
                yield FoundModel(f"ollama:{'/'.join((*places, name))}:{tag}", "Ollama", path, None)


def _weights_digest(manifest: Path) -> str | None:
    """The sha256 of the weights that an Ollama manifest names, None if it is damaged or names none."""
    try:
        if manifest.stat().st_size > _MAX_MANIFEST:
            return None
        layers = json.loads(manifest.read_bytes())["layers"]
        digests = [layer["digest"] for layer in layers if layer["mediaType"] == _OLLAMA_WEIGHTS]
        match = _DIGEST.fullmatch(digests[0]) if digests else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        log.debug("%s is passed over: %s", manifest, error)
        return None
    return match.group(1) if match else None
