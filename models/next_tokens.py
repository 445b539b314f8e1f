"""Which tokens may come next, as the model has it, and what the sampler's stages leave of them.

The stages are llama.cpp's own, run on the model's logits without a draw. Knows nothing of how that is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from langchain_core.messages import BaseMessage
from numpy.typing import NDArray

from phireside.models.asked import Form, check_messages
from phireside.models.engine import Priority, Sampling, Stage, Usage, Vocabulary, sampling_stages
from phireside.models.opened import Opened


@dataclass(frozen=True)
class NextTokens:
    """The next token's distribution.

    Attributes:
        logits: of every token (shape: vocabulary).
        stages: what each stage of the sampling leaves of them, in the order in which they run.
        sampling: the numbers that they have.
        usage: what it cost.
    """

    logits: NDArray[np.float32] = field(repr=False, compare=False)
    stages: tuple[Stage, ...] = field(repr=False, compare=False)
    sampling: Sampling
    usage: Usage
    vocabulary: Vocabulary = field(repr=False, compare=False)

    def text(self, token: int) -> str:
        """A token as the vocabulary writes it; bytes that are only part of a character as `\\xe2`."""
        return self.vocabulary.piece(token, markers=True).decode("utf-8", "backslashreplace")

    def is_end(self, token: int) -> bool:
        """Whether the model ends its answer with it."""
        return self.vocabulary.is_end(token)


def next_tokens(
    opened: Opened,
    messages: Sequence[BaseMessage],
    answer: str,
    sampling: Sampling,
    priority: Priority,
    timeout: float | None,
) -> NextTokens:
    """See `ChatGGUF.next_tokens`."""
    check_messages(messages)
    prompt = Form().render(opened, messages)
    tokens = opened.encoder.encode(prompt)
    if answer:
        tokens = [*tokens, *opened.encoder.continuation(prompt, answer)]
    engine = opened.runtime.engine
    scored = engine.next_tokens(tokens, priority, timeout)
    logits = cast(NDArray[np.float32], scored.logits)  # they are what was asked for
    stages = sampling_stages(logits, sampling, tokens)
    return NextTokens(logits, tuple(stages), sampling, scored.usage, engine.vocabulary)
