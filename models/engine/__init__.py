"""The engine: one owner thread, one llama.cpp context, many sequences. The only code that touches `llama_cpp`.

`request.py` what is asked and answered; `engine.py` the thread; `scheduler.py` which tokens go into a batch;
`sequences.py` the KV cache's sequences; `job.py` a request on its way; `text.py` bytes to text; `native.py` llama.cpp.
"""

from phireside.models.engine.engine import Completion, Engine, Stats
from phireside.models.engine.job import Job
from phireside.models.engine.native import Vocabulary, build_info, clean
from phireside.models.engine.request import Ended, Event, Failed, Priority, Request, Sampling, Sink, Text, Usage

__all__ = [
    "Engine", "Completion", "Job", "Request", "Sampling", "Priority", "Sink", "Text", "Ended", "Failed", "Event",
    "Usage", "Stats", "Vocabulary", "build_info", "clean",
]  # fmt: skip
