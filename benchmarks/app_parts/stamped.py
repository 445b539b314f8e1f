"""Starts Streamlit as `python -m streamlit` does, with an engine that notes when each piece of text was written.

    STAMPS=FILE stamped.py run SCRIPT FLAGS

Lines of FILE: seconds since 1970, the conversation, the text; each when the engine hands the text over, in its thread.
"""

import json
import os
import sys
import time
from pathlib import Path

from streamlit.web.cli import main

from phireside.models.engine.job import Job
from phireside.models.engine.request import Event, Text

_plain = Job.send
_file = Path(os.environ["STAMPS"]).open("a", buffering=1, encoding="utf-8")  # noqa: SIM115 (open until the end)


def _noted(job: Job, event: Event) -> None:
    if isinstance(event, Text):
        _file.write(json.dumps([time.time(), job.keep, event.text]) + "\n")
    _plain(job, event)


if __name__ == "__main__":
    Job.send = _noted  # type: ignore[method-assign]
    sys.exit(main())
