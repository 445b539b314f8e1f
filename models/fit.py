"""Whether a model fits into this machine's memory, and with how long a context it would.

What is needed is reckoned from the file's header (`info.memory_need`); of Phi-3, before it is downloaded, from its
published size and shape. What is free is asked of the machine. Loads nothing. What this does not know: what other
programs will want in a moment, and the state of recurrent models.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import psutil

from phireside.models.catalog import ModelEntry
from phireside.models.engine.devices import gpus
from phireside.models.ggml_types import TYPE_IDS, tensor_bytes
from phireside.models.gguf_file import read_gguf
from phireside.models.info import MemoryNeed, memory_need
from phireside.settings import EngineSettings

Verdict = Literal["fits", "fits on the GPU", "GPU too small", "too little free", "too large"]

_CONTEXTS = (8192, 4096, 2048, 1024, 512)  # shorter ones that are tried, in tokens
_SPARE = 300e6  # bytes of main memory that are left to the rest of Phireside: pages, embeddings, Python itself
_PHI_3_BYTES = {"phi-3": 2_400_000_000, "phi-3-fp16": 7_600_000_000}  # of the files, as the catalogue describes them
_PHI_3_LAYERS, _PHI_3_WIDTH, _PHI_3_VOCABULARY, _PHI_3_TRAINED = 32, 3072, 32_064, 4096  # Phi-3-mini's config.json


@dataclass(frozen=True)
class Machine:
    """Memory in bytes: the main one, and that of all GPUs which llama.cpp can use, together."""

    free: int
    total: int
    gpu_free: int = 0
    gpu_total: int = 0

    @classmethod
    def now(cls) -> "Machine":
        """This one."""
        memory, cards = psutil.virtual_memory(), gpus()
        return cls(memory.available, memory.total, sum(gpu.free for gpu in cards), sum(gpu.total for gpu in cards))


@dataclass(frozen=True)
class Fit:
    """Whether a model fits.

    Attributes:
        verdict: "too little free" would fit if other programs were closed.
        need: what it takes with the context that is set.
        main: bytes of that in main memory.
        longest: the longest context, in tokens, with which it would fit now; 0 = none that was tried.
    """

    verdict: Verdict
    need: MemoryNeed
    main: int
    longest: int

    @property
    def fits(self) -> bool:
        """Whether it can be loaded now."""
        return self.verdict.startswith("fits")


def needs(entry: ModelEntry, engine: EngineSettings) -> list[MemoryNeed]:
    """What a model takes with the context that is set, and then with shorter ones; empty if nobody knows.

    Args:
        entry: on disk, or one of the two Phi-3.
        engine: how it would be loaded.

    Raises:
        ModelDamagedError: its file is no whole GGUF.
        ModelNotFoundError: the file is gone.
    """
    if entry.path is None and entry.name not in _PHI_3_BYTES:
        return []
    file = read_gguf(entry.path) if entry.path else None

    def need(settings: EngineSettings) -> MemoryNeed:
        return memory_need(file, settings) if file else _phi_3(_PHI_3_BYTES[entry.name], settings)

    first = need(engine)
    shorter = [engine.model_copy(update={"n_ctx": n_ctx, "cache_tokens": 0}) for n_ctx in _CONTEXTS]
    return [first, *(need(settings) for settings in shorter if settings.n_ctx < first.n_ctx)]


def judge(wanted: Sequence[MemoryNeed], machine: Machine) -> Fit:
    """Whether a model fits.

    Args:
        wanted: what `needs` says; at least one.
        machine: what there is.
    """
    verdict = _verdict(wanted[0], machine)
    fitting = (need.n_ctx for need in wanted if _verdict(need, machine).startswith("fits"))
    return Fit(verdict, wanted[0], _main(wanted[0], machine), next(fitting, 0))


def _verdict(need: MemoryNeed, machine: Machine) -> Verdict:
    on_gpu, main = machine.gpu_total > 0 and need.gpu > 0, _main(need, machine)
    if on_gpu and need.gpu > machine.gpu_free:
        return "GPU too small"
    if main + _SPARE > machine.total:
        return "too large"
    if main > machine.free:
        return "too little free"
    return "fits on the GPU" if on_gpu else "fits"


def _main(need: MemoryNeed, machine: Machine) -> int:
    return need.total - need.gpu if machine.gpu_total else need.total


def _phi_3(weights: int, engine: EngineSettings) -> MemoryNeed:
    """Of a file that is not here: with a GPU, all of it is taken to go there, or nothing."""
    rows = (tensor_bytes((_PHI_3_WIDTH,), TYPE_IDS[kind]) for kind in (engine.type_k, engine.type_v))
    per_token, n_ctx = _PHI_3_LAYERS * sum(rows), engine.context(_PHI_3_TRAINED)
    cells = engine.cells(n_ctx, per_token)
    need = MemoryNeed(
        n_ctx=n_ctx,
        cells=cells,
        weights=weights,
        kv_cache=cells * per_token,
        compute=4 * engine.n_batch * (_PHI_3_VOCABULARY + _PHI_3_WIDTH),
        gpu=0,
        free=psutil.virtual_memory().available,
    )
    return replace(need, gpu=need.weights + need.kv_cache) if engine.n_gpu_layers else need
