"""The interpreter may go at any time, with nobody closing anything: while a prompt is read or an answer is written."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

ENGINE = """
import sys, time
from pathlib import Path
from phireside.models.engine import Engine, Request, Sampling
from phireside.settings import EngineSettings

engine = Engine(Path(sys.argv[1]), EngineSettings(n_ctx=2048))
length, words = int(sys.argv[2]), int(sys.argv[3])
prompt = tuple(300 + i % 1000 for i in range(length))
answers = [engine.complete(Request(prompt, Sampling(temperature=0), max_tokens=words)) for _ in range(3)]
"""
READING = "while not engine.stats().running: time.sleep(0.001)\n"
WRITING = "print(next(iter(answers[0])))\n"
CHAT = """
import sys
from phireside.models import ChatGGUF
stream = ChatGGUF(model=sys.argv[1], temperature=0, max_tokens=None).stream("Tell me a long story.")
print(next(stream).text)
"""
ENDS = {
    "the end of the script": "",
    "sys.exit": "sys.exit(0)",
    "dropping everything": "del engine, answers",
}


def run(script: str, *arguments: object) -> None:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (child.returncode, child.stderr) == (0, "")


@pytest.mark.parametrize("end", ENDS)
def test_the_interpreter_exits_cleanly_while_an_answer_is_written(tiny_phi3: Path, end: str) -> None:
    run(ENGINE + WRITING + ENDS[end], tiny_phi3, 10, 2000)


def test_the_interpreter_exits_cleanly_while_a_prompt_is_read(starter_path: Path) -> None:
    run(ENGINE + READING, starter_path, 2000, 8)


def test_the_interpreter_exits_cleanly_while_the_model_is_loaded(starter_path: Path) -> None:
    run(ENGINE, starter_path, 10, 8)


def test_the_interpreter_exits_cleanly_while_a_chat_model_streams(starter_path: Path) -> None:
    run(CHAT, starter_path)
