"""How fast a model reads and writes on this machine: one prompt that no cache knows, and a short answer.

The engine is the one that chats use, so nothing is loaded twice; who else asks it meanwhile makes the figures smaller,
and is counted.
"""

import threading
import time
from dataclasses import dataclass

from phireside.errors import EngineError
from phireside.models.engine import Engine, Request, Sampling

PROMPT_TOKENS, WRITTEN_TOKENS = 256, 64
MOST_SECONDS = 60.0

_TEXT = "Once upon a time a keeper of a lighthouse wrote down every evening which ships had come home. "


@dataclass(frozen=True)
class Speed:
    """What was measured; times in seconds, speeds in tokens per second.

    Attributes:
        load_s: until the model was in memory; 0 if it was there.
        read_tokens, read_s: of the prompt.
        written_tokens: of the answer.
        writing: tokens per second while it was written; 0 if it ended at once.
        complete: False if it took too long and was cut short.
        others: requests that ran or waited at the beginning or the end.
    """

    load_s: float
    read_tokens: int
    read_s: float
    written_tokens: int
    writing: float
    complete: bool
    others: int

    @property
    def reading(self) -> float:
        """Tokens of the prompt per second."""
        return self.read_tokens / self.read_s if self.read_s else 0.0


def measure(
    engine: Engine,
    prompt_tokens: int = PROMPT_TOKENS,
    written_tokens: int = WRITTEN_TOKENS,
    seconds: float = MOST_SECONDS,
) -> Speed:
    """Measure an engine; loads it if it is not loaded.

    Args:
        engine: of the model.
        prompt_tokens: of the prompt; fewer if the context is short.
        written_tokens: most tokens of the answer.
        seconds: after which the answer is cut short; loading is not counted.

    Raises:
        ModelLoadError, EngineBusyError, EngineClosedError: as for the engine.
    """
    load_s = _load(engine)
    prompt = _prompt(engine, min(prompt_tokens, max(1, engine.n_ctx - written_tokens)))
    others = _others(engine)
    answer = engine.complete(Request(prompt, Sampling(temperature=0), max_tokens=min(written_tokens, engine.n_ctx - 1)))
    alarm = threading.Timer(seconds, answer.cancel)
    alarm.start()
    try:
        for _ in answer:
            pass
    finally:
        alarm.cancel()
    usage = answer.usage
    if usage is None:
        raise EngineError("The speed was not measured: the answer had no end.", hint="Try again.")
    return Speed(
        load_s=load_s,
        read_tokens=usage.evaluated_tokens,
        read_s=usage.prefill_s,
        written_tokens=usage.generated_tokens,
        writing=usage.tokens_per_second,
        complete=usage.finish_reason != "cancelled",
        others=max(others, _others(engine)),
    )


def _load(engine: Engine) -> float:
    """Seconds that loading took."""
    if engine.stats().state == "ready":
        return 0.0
    begun = time.monotonic()
    engine.load()
    return time.monotonic() - begun


def _prompt(engine: Engine, length: int) -> tuple[int, ...]:
    """So many tokens, of which no earlier prompt has more than the first."""
    tokens = engine.vocabulary.tokenize(f"{time.time_ns()}"[::-1], markers=False)  # the last digits differ
    text = engine.vocabulary.tokenize(_TEXT, markers=False)
    return tuple((tokens + text * (1 + length // len(text)))[:length])


def _others(engine: Engine) -> int:
    stats = engine.stats()
    return stats.running + stats.waiting
