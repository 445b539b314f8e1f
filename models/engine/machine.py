"""What the engine asks of the machine: how many threads suit it, and whether a file is still the same."""

import os
from pathlib import Path

import psutil

from phireside.errors import ModelNotFoundError
from phireside.settings import EngineSettings


def file_signature(path: Path) -> tuple[int, int, int]:
    """Inode, size and time of change of a file: what changes when it is replaced.

    Raises:
        ModelNotFoundError: there is no such file.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise ModelNotFoundError(
            f"There is no model file {path}: {error.strerror}.", hint="`phireside models list` shows what is there."
        ) from error
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def choose_threads(settings: EngineSettings) -> tuple[int, int]:
    """Threads for generating and for reading prompts, where the settings leave it open.

    Generating waits for memory and for its slowest thread: one core is left to the page and the rest of the machine
    (docs/performance.md, "Threads"). Reading prompts is bound by arithmetic and takes all cores.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(psutil.cpu_count(logical=False) or usable, usable)
    return settings.n_threads or max(1, cores - 1), settings.n_threads_batch or cores
