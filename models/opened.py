"""A model ready to be asked: its checked file, its shared engine, its encoder. Knows nothing of messages."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from phireside.models.catalog import Catalog
from phireside.models.dialects import Dialect, dialect_for
from phireside.models.encoding import PromptEncoder
from phireside.models.runtime import Runtime, runtimes, shared_runtime, state_folder
from phireside.settings import EngineSettings, Settings


@dataclass(frozen=True)
class Opened:
    """A model ready to be asked."""

    name: str
    runtime: Runtime
    encoder: PromptEncoder

    @cached_property
    def dialect(self) -> Dialect:
        """How it writes tool calls."""
        return dialect_for(self.encoder)


def open_model(name: str, settings: Settings, engine: EngineSettings, chat_template: str | None) -> Opened:
    """The model of that name, looked up once: to do so walks through folders, which may hold many files.

    It is looked up again when its file was touched or its engine closed. "auto" always is: a better one may have come.

    Args:
        name: see `Catalog.resolve`.
        settings: where files are.
        engine: how it is loaded.
        chat_template: Jinja source instead of its own.

    Raises:
        ModelNotFoundError, ModelDamagedError, ModelLoadError, TemplateError: it cannot be used.
    """
    asked = (name, settings.model_hashes, settings.state_dir, engine, chat_template)
    for runtime in runtimes():
        known: tuple[object, Opened] | None = runtime.opened.get(asked)
        if known and known[0] == _touched(runtime.engine.path):
            return known[1]
    entry = Catalog(settings).resolve(name)
    touched = _touched(entry.file)
    runtime = shared_runtime(entry.file, engine, state_folder(settings.state_dir, entry.sha256 or "", engine))
    opened = Opened(entry.name, runtime, runtime.encoder(chat_template))
    if name != "auto":
        runtime.opened[asked] = touched, opened
    return opened


def _touched(path: Path) -> object:
    """What changes when a file is written to or replaced, even if its times are set back."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
