"""`POST /v1/embeddings`, as OpenAI's: texts as vectors. Knows nothing of what they are compared with."""

import asyncio
import base64
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from phireside.api.parts import EMBEDDINGS, Parts, parts_of
from phireside.api.requests import EmbeddingsRequest
from phireside.api.schemas import EmbeddingsAnswer
from phireside.api.streaming import Whole
from phireside.errors import ModelNotFoundError, NotSupportedError, RequestError
from phireside.retrieval.embedder import Embedder
from phireside.text import clean_text

router = APIRouter(tags=["embeddings"])
_MOST = 2048  # texts of a request, OpenAI's limit
_AT_ONCE = 32  # after so many it is looked whether somebody still waits
Vectors = NDArray[np.float32]


@router.post("/v1/embeddings", summary="Make vectors of texts", response_model=EmbeddingsAnswer)
async def embeddings(request: Request, asked: EmbeddingsRequest) -> Response:
    """Vectors of length 1, as lists of numbers or as base64 of little-endian float32."""
    return Whole(partial(_answer, parts_of(request), asked))


async def _answer(parts: Parts, asked: EmbeddingsRequest) -> dict[str, Any]:
    own = parts.settings.embeddings
    if asked.model not in (EMBEDDINGS, own):
        raise ModelNotFoundError(
            f"There is no embedding model {asked.model[:200]!r} here.", hint=f"Use {EMBEDDINGS!r}, which is {own}."
        )
    texts = _texts(asked.input)
    with parts.gate.entered():
        embedder = Embedder(await asyncio.to_thread(lambda: parts.embeddings))
        made = [
            await asyncio.to_thread(embedder.passages, texts[start : start + _AT_ONCE])
            for start in range(0, len(texts), _AT_ONCE)
        ]
        vectors: Vectors = np.concatenate(made)
        tokens = await asyncio.to_thread(lambda: sum(map(embedder.count_tokens, texts)))
    if asked.dimensions not in (None, vectors.shape[1]):
        raise NotSupportedError(
            f"dimensions is {asked.dimensions}, but {own} gives {vectors.shape[1]}.", hint="Leave it out."
        )
    data = [
        {"object": "embedding", "index": number, "embedding": _written(vector, asked.encoding_format)}
        for number, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": asked.model, "usage": usage}


def _texts(given: Any) -> list[str]:
    """The texts of a request.

    Raises:
        RequestError: there are none, one is empty, or too many.
        NotSupportedError: they are tokens of another model.
    """
    texts: Sequence[Any] = [given] if isinstance(given, str) else given
    if not 1 <= len(texts) <= _MOST:
        raise RequestError(f"input has {len(texts)} texts, but must have 1 to {_MOST}.", hint="Send them in parts.")
    if not all(isinstance(text, str) for text in texts):
        raise NotSupportedError(
            "input has tokens, but of a vocabulary that this model does not have.",
            hint="Send texts; langchain-openai does with check_embedding_ctx_length=False.",
        )
    if "" in texts:
        raise RequestError(f"Text {list(texts).index('')} of input is empty.", hint="Leave it out.")
    return [clean_text(text) for text in texts]


def _written(vector: Vectors, form: str | None) -> Any:
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return vector.tolist()
