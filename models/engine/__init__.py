"""The engine: one owner thread, one llama.cpp context, many sequences. The only code that touches `llama_cpp`.

A request's way: `request.py` what is asked and answered; `engine.py` the thread and its queue; `job.py` who listens;
`batcher.py` one step of the model; `scheduler.py` which tokens go into a batch; `sequences.py` where a prompt starts;
`disk.py` what of the cache outlives the process; `run.py` a request at work, `writing.py` an answer, `scoring.py`
probabilities; `lookup.py` guesses; `text.py` bytes to text; `completion.py` what the caller holds; `tally.py` the
figures of all of them.
llama.cpp's side: `library.py`, `vocabulary.py`, `context.py`, `sampler.py`, `devices.py`; `machine.py` threads, files.
"""

from phireside.models.engine.completion import Completion
from phireside.models.engine.engine import Engine
from phireside.models.engine.job import Job
from phireside.models.engine.library import build_info
from phireside.models.engine.request import (
    Ended,
    Event,
    Failed,
    Priority,
    Request,
    Sampling,
    Score,
    Scored,
    ScoreRequest,
    Sink,
    Text,
    Usage,
)
from phireside.models.engine.sampler import Stage, sampling_stages
from phireside.models.engine.tally import Stats, Totals
from phireside.models.engine.vocabulary import Vocabulary
from phireside.text import clean_text as clean

__all__ = [
    "Engine", "Completion", "Job", "Request", "ScoreRequest", "Sampling", "Score", "Priority", "Sink", "Text", "Ended",
    "Scored", "Failed", "Event", "Usage", "Stats", "Totals", "Stage", "Vocabulary", "build_info", "clean",
    "sampling_stages",
]  # fmt: skip
