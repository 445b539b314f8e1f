"""One engine per model file and settings, shared by everybody in the process.

Two `ChatGGUF` objects, eight browser sessions and a summariser on the same file use one set of weights and one cache.
"""

import threading
from pathlib import Path

from phireside.models.encoding import PromptEncoder
from phireside.models.engine import Engine
from phireside.models.engine.engine import file_signature
from phireside.models.templates import ChatTemplate
from phireside.settings import EngineSettings


class Runtime:
    """An engine, and what turns messages into its prompts.

    Args:
        path: a GGUF file that has been checked.
        settings: how to load it.
    """

    def __init__(self, path: Path, settings: EngineSettings) -> None:
        self.signature = file_signature(path)
        self.engine = Engine(path, settings)
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


def shared_runtime(path: Path, settings: EngineSettings) -> Runtime:
    """The process's runtime for a file and settings. A file that was replaced gets a new one, and the old is closed.

    Raises:
        ModelNotFoundError, ModelLoadError: the file is missing, or llama.cpp refuses it.
    """
    key = (path.resolve(), settings)
    with _lock:
        old = _runtimes.get(key)
        if old and old.signature == file_signature(path):
            return old
        new = _runtimes[key] = Runtime(path, settings)
    if old:
        old.engine.close()
    return new


def runtimes() -> list[Runtime]:
    """All that are in use, e.g. to ask their engines for `stats()`."""
    with _lock:
        return list(_runtimes.values())


def close_all() -> None:
    """Close every engine and free the memory. Later calls load again."""
    with _lock:
        closing = list(_runtimes.values())
        _runtimes.clear()
    for runtime in closing:
        runtime.engine.close()
