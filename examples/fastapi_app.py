"""A help desk as a web service: FastAPI around two of Phireside's chains.

    pip install "phireside[starter]" fastapi uvicorn
    HANDBOOK=my/folder uvicorn fastapi_app:app      # then http://127.0.0.1:8000/docs

`POST /sort` says what a letter is about (`classify`). `POST /ask` answers a question from the documents in the folder
HANDBOOK (`rag_chain`), with the passages that it cites; `POST /ask/live` does the same while the answer grows. All
requests share one engine in this process, and a request whose client goes away ends there too.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from phireside.chains import Answer, classify, rag_chain
from phireside.errors import ContextOverflowError, EngineBusyError, PhiresideError, RequestError
from phireside.models import load_chat_model
from phireside.models.embeddings import embeddings
from phireside.retrieval import HybridRetriever, KnowledgeBase, Search
from phireside.settings import Settings

HANDBOOK = Path(os.environ.get("HANDBOOK", "handbook"))
TOPICS = {"refund": "wants money back", "delivery": "asks where a parcel is", "praise": "is happy with a purchase"}
STATUS = {EngineBusyError: 503, RequestError: 422, ContextOverflowError: 422}


class Letter(BaseModel):
    """What a customer wrote."""

    text: str = Field(min_length=1, max_length=10_000)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Read the handbook, where it is new or changed, and make the chains. The model is loaded by the first request."""
    model = load_chat_model(temperature=0)
    base = KnowledgeBase.named("handbook", Settings().bases_dir, embeddings(), create=True)
    base.add_folder(HANDBOOK)
    app.state.sort = classify(TOPICS, model=model)
    app.state.answer = rag_chain(model, HybridRetriever(base=base, how=Search(k=3, threshold=0.2)), sentences=1)
    yield
    base.close()


app = FastAPI(title="Help desk", lifespan=lifespan)


@app.exception_handler(PhiresideError)
async def refuse(_: Request, error: PhiresideError) -> JSONResponse:
    """Phireside's errors say what to do next; a busy engine is worth another try."""
    return JSONResponse({"detail": error.message, "hint": error.hint}, STATUS.get(type(error), 500))


@app.post("/sort")
async def sort(letter: Letter) -> dict[str, Any]:
    """The topic of a letter, with its probability."""
    found = await app.state.sort.ainvoke(letter.text)
    return {"topic": found.label, "probabilities": found.probabilities}


@app.post("/ask")
async def ask(letter: Letter) -> dict[str, Any]:
    """An answer from the handbook."""
    return shown(await app.state.answer.ainvoke(letter.text))


@app.post("/ask/live")
async def ask_live(letter: Letter) -> StreamingResponse:
    """The same as lines of JSON, each with the whole answer so far; the last one is checked."""

    async def lines() -> AsyncIterator[str]:
        async with aclosing(app.state.answer.astream(letter.text)) as answers:
            async for answer in answers:
                yield json.dumps(shown(answer)) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def shown(answer: Answer) -> dict[str, Any]:
    """What the service says of an answer: `[n]` in its text is the n-th of its passages."""
    passages = [{"source": each.metadata["source"], "text": each.page_content} for each in answer.passages]
    return {"text": answer.text, "known": answer.known, "passages": passages}
