"""The models that are in memory now: load one, look at what their engines do. Knows no page.

`downloads.unload` frees one.
"""

from dataclasses import dataclass
from pathlib import Path

from phireside.models.catalog import Catalog
from phireside.models.engine import Engine, Stats
from phireside.models.runtime import runtimes, shared_runtime, state_folder
from phireside.settings import Settings


@dataclass(frozen=True)
class Loaded:
    """A model in memory, or on its way there."""

    path: Path
    stats: Stats


def loaded_models() -> list[Loaded]:
    """Those whose engines are loading or ready, in the order in which they were first asked for."""
    found = (Loaded(runtime.engine.path, runtime.engine.stats()) for runtime in runtimes())
    return [each for each in found if each.stats.state in ("loading", "ready")]


def engine_of(name: str, catalog: Catalog, settings: Settings) -> Engine:
    """The engine of a model, which chats with the same settings use; it may not be loaded yet.

    Raises:
        ModelNotFoundError, ModelDamagedError, NotSupportedError: as `Catalog.resolve`.
        ModelLoadError: llama.cpp refuses the file.
    """
    entry = catalog.resolve(name)
    folder = state_folder(settings.state_dir, entry.sha256 or "", settings.engine)
    return shared_runtime(entry.file, settings.engine, folder).engine


def load(name: str, catalog: Catalog, settings: Settings) -> Engine:
    """Load a model and wait for it. Errors are as for `engine_of`."""
    engine = engine_of(name, catalog, settings)
    engine.load()
    return engine
