"""What the pages Scenarios and Evaluate have at work: one of each kind for each data folder, while pages come and go.

Knows nothing of what it is. Does not import Streamlit.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel

from phireside.errors import TurnRunningError
from phireside.models import Catalog, load_chat_model
from phireside.models.load import is_remote
from phireside.settings import Settings
from phireside.ui.background import PATIENCE, Work

W = TypeVar("W", bound=Work)

LOADING = "Loading the model. It takes some seconds, once …"

_works: dict[tuple[Path, str], Work] = {}
_lock = threading.Lock()


def maker(settings: Settings) -> Callable[..., BaseChatModel]:
    """Makes chat models by their names, which let the requests of people who wait go first."""

    def make(name: str, **given: Any) -> BaseChatModel:
        first = {} if is_remote(name or settings.model) else {"priority": "background"}
        return load_chat_model(name, settings, **first, **given)

    return make


def real_name(name: str, settings: Settings, catalog: Catalog) -> str:
    """The name that is kept with a run: of nothing the settings' model, of `auto` what it stands for now.

    Raises:
        ModelError: it stands for nothing.
    """
    name = name or settings.model
    return catalog.resolve(name).name if name == "auto" else name


def begin(settings: Settings, kind: str, make: Callable[[], W]) -> W:
    """Begin work of a kind.

    Args:
        settings: whose data folder it is for.
        kind: of work.
        make: begins it.

    Raises:
        TurnRunningError: some of the kind is at work there.
    """
    with _lock:
        before = current(settings, kind)
        if before is not None and not before.ended:
            raise TurnRunningError(f"{before.title} has not ended.", hint="Wait for its end, or stop it.")
        work = make()
        _works[settings.data_dir, kind] = work
        return work


def current(settings: Settings, kind: str) -> Work | None:
    """What was begun last."""
    return _works.get((settings.data_dir, kind))


def stop_all(settings: Settings | None = None) -> None:
    """End everything, or what is for one data folder, and wait for that a while."""
    with _lock:
        ending = [key for key in _works if settings is None or key[0] == settings.data_dir]
        works = [_works.pop(key) for key in ending]
    for work in works:
        work.stop()
    for work in works:
        work.wait(PATIENCE)
