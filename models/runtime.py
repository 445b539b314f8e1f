"""One engine per model file and settings, shared by everybody in the process.

Two `ChatGGUF` objects, eight browser sessions and a summariser on the same file use one set of weights and one cache.
"""

import threading
from pathlib import Path
from typing import Any

from phireside.models.encoding import PromptEncoder
from phireside.models.engine import Engine, build_info
from phireside.models.engine.disk import StateFiles
from phireside.models.engine.machine import file_signature
from phireside.models.templates import ChatTemplate
from phireside.settings import EngineSettings


class Runtime:
    """An engine, and what turns messages into its prompts.

    Args:
        path: a GGUF file that has been checked.
        settings: how to load it.
        kv_folder: where its KV state is kept; None = nowhere.
    """

    def __init__(self, path: Path, settings: EngineSettings, kv_folder: Path | None = None) -> None:
        self.signature = file_signature(path)
        self.engine = Engine(path, settings, kv_folder)
        self.opened: dict[object, Any] = {}  # by what it was asked for, see `opened.py`
        self._encoders: dict[str, PromptEncoder] = {}
        self._lock = threading.Lock()

    def encoder(self, chat_template: str | None = None) -> PromptEncoder:
        """The encoder for the file's own chat template, or for the one given.

        Raises:
            TemplateError: there is none, or it cannot be used.
        """
        vocabulary = self.engine.vocabulary
        source = vocabulary.chat_template if chat_template is None else chat_template
        with self._lock:
            if source not in self._encoders:
                bos, eos = vocabulary.text(vocabulary.bos), vocabulary.text(vocabulary.eos)
                template = ChatTemplate(source, bos=bos, eos=eos)
                self._encoders[source] = PromptEncoder(vocabulary, template)
            return self._encoders[source]


_runtimes: dict[tuple[Path, EngineSettings], Runtime] = {}
_lock = threading.Lock()


def shared_runtime(path: Path, settings: EngineSettings, kv_folder: Path | None = None) -> Runtime:
    """The process's runtime for a file and settings. A file that was replaced gets a new one, and the old is closed.

    Args:
        path: a GGUF file that has been checked.
        settings: how to load it.
        kv_folder: where its KV state is kept (`state_folder`), if this is the first who asks for it.

    Raises:
        ModelNotFoundError, ModelLoadError: the file is missing, or llama.cpp refuses it.
    """
    key = (path.resolve(), settings)
    with _lock:
        old = _runtimes.get(key)
        if old and old.signature == file_signature(path):
            return old
        new = _runtimes[key] = Runtime(path, settings, kv_folder)
    if old:
        old.engine.close()
    return new


def state_folder(root: Path, weights_sha256: str, settings: EngineSettings) -> Path:
    """Where the KV state of a weights file is kept, apart for all that changes its bytes: llama.cpp, types, attention.

    Args:
        root: the folder of all of them, e.g. `settings.state_dir`.
        weights_sha256: of the GGUF file.
        settings: how it is loaded.
    """
    own = settings.model_dump(include={"type_k", "type_v", "flash_attn"})
    return StateFiles.folder_for(root, weights_sha256, own | {"llama.cpp": build_info().version})


def forget_state(name: str, root: Path) -> None:
    """Drop the KV state that is kept under a name, of every model, in memory and on disk.

    Args:
        name: what requests were given as `keep`, e.g. a conversation's id.
        root: as for `state_folder`.
    """
    for runtime in runtimes():
        runtime.engine.forget(name)
    for folder in root.glob("*/*"):  # also of models that are not loaded
        StateFiles(folder, 0).forget(name)


def runtimes() -> list[Runtime]:
    """All that are in use, e.g. to ask their engines for `stats()`."""
    with _lock:
        return list(_runtimes.values())


def close_runtimes(path: Path) -> bool:
    """Close the engines of a file and free their memory; whether there were any. Later calls load it again."""
    with _lock:
        closing = [_runtimes.pop(key) for key in list(_runtimes) if key[0] == path.resolve()]
    for runtime in closing:
        runtime.engine.close()
    return bool(closing)


def close_all() -> None:
    """Close every engine and free the memory. Later calls load again."""
    with _lock:
        closing = list(_runtimes.values())
        _runtimes.clear()
    for runtime in closing:
        runtime.engine.close()
