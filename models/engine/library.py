"""llama.cpp's native library: imported once and late, its log in `logging`, a model file opened.

This folder holds the only code that touches `llama_cpp`. Knows nothing of what is done with a model.
"""

import functools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from phireside.errors import ModelLoadError

log = logging.getLogger("phireside.llama")

_LEVELS = {3: logging.INFO, 4: logging.INFO}  # ggml's warnings and errors; what matters of them we raise ourselves
_complaints: deque[str] = deque(maxlen=3)  # its last errors, for the message when a file cannot be loaded

T = TypeVar("T")
_making = threading.RLock()


def _once(make: Callable[[], T]) -> Callable[[], T]:
    """A function that makes its value once, also if several threads ask at the same time.

    functools.cache alone lets them all make it, and llama.cpp's own globals are not guarded: two threads in
    `llama_print_system_info` corrupt the heap.
    """
    made = functools.cache(make)

    @functools.wraps(make)
    def one() -> T:
        with _making:
            return made()

    return one


@_once
def llama() -> ModuleType:
    """llama.cpp's bindings, imported at first use, with its log going to `logging`.

    Raises:
        ModelLoadError: llama-cpp-python is missing, or its native library cannot be loaded.
    """
    # Waiting threads of GNU OpenMP spin for milliseconds by default, and so take the core from those they wait for.
    # After a short spin they had better sleep: beside a busy process, prompts are read faster for it
    # (docs/performance.md, "Threads").
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        import llama_cpp  # heavy, and the program must start without it
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelLoadError(
            f"llama.cpp cannot be loaded: {error}.",
            hint="Run `pip install --force-reinstall llama-cpp-python`; `phireside doctor` shows what is installed.",
        ) from error
    llama_cpp.llama_backend_init()
    llama_cpp.llama_log_set(_log_callback(llama_cpp), None)
    library: ModuleType = llama_cpp
    return library


@functools.cache
def _log_callback(llama_cpp: ModuleType) -> object:
    """The callback must outlive the library's use of it, hence the cache."""

    def write(level: int, text: bytes, _data: object) -> None:
        line = text.decode("utf-8", "replace").strip()
        log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)
        if level == 4:
            _complaints.append(line)

    return llama_cpp.llama_log_callback(write)


@dataclass(frozen=True)
class BuildInfo:
    """How the installed llama.cpp was built."""

    version: str
    gpu: bool
    features: str


@_once
def build_info() -> BuildInfo:
    """Version of llama-cpp-python, whether it can offload to a GPU, and llama.cpp's own list of CPU features."""
    lib = llama()
    return BuildInfo(lib.__version__, bool(lib.llama_supports_gpu_offload()), lib.llama_print_system_info().decode())


def load_model(path: Path, params: object) -> object:
    """A pointer to the model in a GGUF file.

    Raises:
        ModelLoadError: llama.cpp refuses it; its own words are in the message.
    """
    lib = llama()
    _complaints.clear()
    model = lib.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise ModelLoadError(
            f"llama.cpp cannot load {path}: {'; '.join(_complaints) or 'it does not say why'}.",
            hint="The file may be damaged, larger than memory, or of an architecture that is not known here; "
            f"`phireside models info '{path}'` tells.",
        )
    return model
