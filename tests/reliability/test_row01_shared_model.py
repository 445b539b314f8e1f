"""Row 1: many threads ask one model object at once. Nobody crashes, and everybody gets the text he would get alone.

One `llama_cpp.Llama` used by four threads died or hung in 3 of 3 runs (../shared/RELIABILITY.md).
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from engine_tools import NEAR, Judge

from phireside.settings import EngineSettings

pytestmark = pytest.mark.real

# Asks every question alone, then all at once from many threads. Prints every text, the tokens that the engine gave for
# every prompt (the ones asked alone come first), and the seconds until each first token.
WORKER = """
import json, sys, threading
from phireside.models import ChatGGUF
from phireside.models.engine import Ended, Engine
from phireside.settings import EngineSettings, Settings

path, flash_attn, threads, rounds, words = *sys.argv[1:3], *map(int, sys.argv[3:])
settings = Settings(engine=EngineSettings(flash_attn=flash_attn))
model = ChatGGUF(model=path, settings=settings, temperature=0, max_tokens=words, n_ctx=1024)
tokens, texts, waits, errors = [], [], [], []
submit = Engine.submit

def recording(engine, request, sink):
    def listen(event):
        if isinstance(event, Ended):
            tokens.append((request.tokens, event.tokens))
        sink(event)
    return submit(engine, request, listen)

Engine.submit = recording
questions = [
    "Name a colour.", "Name a colour. And then an animal, please.", "Count from one to ten.", "What is a lighthouse?",
    "Tell me about the sea.", "Tell me about the sea and the moon.", "Say hello in French.", "Why is the sky blue?",
    "Write one line about autumn rain, as the poets of old would have written it.",
]

def ask(question):
    answer = model.invoke(question)
    texts.append(answer.text)
    return answer

alone = {question: ask(question).text for question in questions}

def visitor(number):
    try:
        for round_ in range(rounds):
            answer = ask(questions[(number + round_) % len(questions)])
            waits.append(answer.response_metadata["time_to_first_token"])
    except Exception as error:
        errors.append(repr(error))

visitors = [threading.Thread(target=visitor, args=(number,)) for number in range(threads)]
for each in visitors: each.start()
for each in visitors: each.join()
print(json.dumps({"texts": texts, "tokens": tokens, "waits": waits, "errors": errors}))
"""


@dataclass
class Outcome:
    """What runs came to, added up."""

    runs: int = 0
    crashes: int = 0
    total: int = 0
    near_ties: int = 0
    wrong: int = 0

    def __post_init__(self) -> None:
        self.waits: list[float] = []

    def __str__(self) -> str:
        p95 = sorted(self.waits)[int(len(self.waits) * 0.95)] if self.waits else float("nan")
        bound = f"95 % bound {3 / self.total:.1%}" if self.total else "no answers"
        return (
            f"{self.crashes} crashes in {self.runs} runs; {self.wrong} wrong of {self.total} texts ({bound}), "
            f"{self.near_ties} at near-ties; first token p95 {p95:.2f} s"
        )


def run(outcome: Outcome, judge: Judge, *arguments: object) -> None:
    """One child process; its answers are judged here."""
    command = [sys.executable, "-c", WORKER, *map(str, arguments)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    outcome.runs += 1
    if child.returncode:
        outcome.crashes += 1
        print(child.stderr[-2000:])
        return
    result = json.loads(child.stdout)
    assert result["errors"] == []
    assert sorted(result["texts"]) == sorted(judge.text(answer) for _, answer in result["tokens"])
    alone: dict[tuple[int, ...], list[int]] = {}
    proven: dict[tuple[int, ...], bool] = {}
    asked_together = 0
    for prompt, answer in result["tokens"]:
        first = alone.setdefault(tuple(prompt), answer)
        asked_together += first is not answer
        if first != answer:
            key = (*prompt, -1, *answer)
            if key not in proven:
                proven[key] = judge.doubt(prompt, answer) < NEAR
            outcome.near_ties += proven[key]
            outcome.wrong += not proven[key]
    assert asked_together == len(result["waits"])
    prompt, other = list(alone)[2:4]
    assert judge.doubt(prompt, alone[other]) > NEAR  # a mixed-up text would be seen
    outcome.total += asked_together
    outcome.waits += result["waits"]


def measure(path: Path, plan: list[tuple[int, int]], words: int, flash_attn: Literal["auto", "off"]) -> Outcome:
    outcome, judge = Outcome(), Judge(path, longest=256, base=EngineSettings(flash_attn=flash_attn))
    for threads, rounds in plan:
        run(outcome, judge, path, flash_attn, threads, rounds, words)
    judge.close()
    assert outcome.crashes or outcome.total == sum(threads * rounds for threads, rounds in plan)
    return outcome


def check(outcome: Outcome) -> None:
    assert outcome.crashes == 0
    assert outcome.wrong == 0


@pytest.mark.parametrize("rounds", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_a_crowd_on_a_random_model_gets_exactly_the_texts_of_one(
    tiny_phi3: Path, figure: Callable[[int, str], None], rounds: int
) -> None:
    outcome = measure(tiny_phi3, [(2, rounds), (4, rounds), (8, rounds)], words=40, flash_attn="off")
    figure(1, f"2, 4, 8 threads x {rounds}, random model: {outcome}")
    check(outcome)
    assert (
        outcome.near_ties <= outcome.total / 50
    )  # F16 weights and no flash attention: hardly any rounding that could differ


def test_eight_threads_on_the_starter_get_the_texts_of_one(
    starter_path: Path, figure: Callable[[int, str], None]
) -> None:
    outcome = measure(starter_path, [(8, 2)], words=8, flash_attn="auto")
    figure(1, f"8 threads x 2, starter: {outcome}")
    check(outcome)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_crowd_on_the_starter_gets_the_texts_of_one(starter_path: Path, figure: Callable[[int, str], None]) -> None:
    outcome = measure(starter_path, [(2, 50), (4, 50), (8, 50)], words=16, flash_attn="auto")
    figure(1, f"2, 4, 8 threads x 50, starter: {outcome}")
    check(outcome)
