"""The GPUs that this build of llama.cpp can use, and how much of their memory is free. Loads no model."""

import ctypes
from dataclasses import dataclass
from typing import Any

from phireside.models.engine.library import build_info

_GPUS = {1, 2}  # ggml_backend_dev_type: one with memory of its own, one that shares the machine's


@dataclass(frozen=True)
class Gpu:
    """A GPU; memory in bytes."""

    name: str
    free: int
    total: int


def gpus() -> list[Gpu]:
    """The GPUs, in llama.cpp's order; none if it was built without one."""
    if not build_info().gpu:
        return []
    from llama_cpp._ggml import libggml  # its own wrapper: ggml's devices have no other

    return listed(libggml)


def listed(library: Any) -> list[Gpu]:
    """The GPUs that ggml's library knows.

    Args:
        library: with the functions `ggml_backend_dev_…` of ggml-backend.h.
    """
    device, description = library.ggml_backend_dev_get, library.ggml_backend_dev_description
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    device.argtypes, device.restype = [ctypes.c_size_t], ctypes.c_void_p
    description.argtypes, description.restype = [ctypes.c_void_p], ctypes.c_char_p
    library.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    size = ctypes.POINTER(ctypes.c_size_t)
    library.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, size, size]
    library.ggml_backend_dev_memory.restype = None
    found = []
    for each in map(device, range(library.ggml_backend_dev_count())):
        if library.ggml_backend_dev_type(each) in _GPUS:
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            library.ggml_backend_dev_memory(each, ctypes.byref(free), ctypes.byref(total))
            found.append(Gpu(description(each).decode("utf-8", "replace"), free.value, total.value))
    return found
