"""Sampling made visible: which tokens a model would write next, and what each stage of the sampling leaves of them.

Figures 6-3 to 6-5 of *Hands-On Large Language Models* as data, for the reader's own prompt, in the order in which the
engine really samples: repetition penalty, top-k, top-p, min-p, temperature. (The book tells of temperature first. Here
it comes last, so it never changes which tokens are left.) Knows nothing of plots; `ui/sampling_view.py` draws one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from langchain_core.language_models import LanguageModelInput
from numpy.typing import NDArray

from phireside.chains.cost import Cost
from phireside.chains.given import Model, check_counts, check_prompt, chosen
from phireside.errors import NotSupportedError, RequestError
from phireside.models import ChatGGUF, NextTokens, Sampling, SamplingChoice, settings_of, unbound

_NAMES = {  # llama.cpp's name of a stage: ours, and the setting that rules it
    "penalties": ("repetition penalty", "repeat_penalty"),
    "top-k": ("top-k", "top_k"),
    "top-p": ("top-p", "top_p"),
    "min-p": ("min-p", "min_p"),
    "temp": ("temperature", "temperature"),
    "greedy": ("greedy", "temperature"),
}

Probabilities = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that may come next.

    Attributes:
        token: its number in the vocabulary.
        text: as the vocabulary writes it, a leading blank included.
        ends: whether the model ends its answer with it.
        probability: the model's own.
        after: its probability after each stage, in their order; 0 = removed. They sum to 1 over all tokens that are
            left.
    """

    token: int
    text: str
    ends: bool
    probability: float
    after: tuple[float, ...]

    @property
    def kept(self) -> bool:
        """Whether it may be drawn."""
        return self.after[-1] > 0


@dataclass(frozen=True, slots=True)
class SamplingStage:
    """One stage of the sampling.

    Attributes:
        name: repetition penalty, top-k, top-p, min-p, temperature; or greedy, which is temperature 0.
        value: the setting.
        kept: how many tokens of the vocabulary are left after it.
        share: the model's own probability of these together.
        entropy: of what is left, in bits: 0 = decided; 1 = as open as the toss of a coin.
    """

    name: str
    value: float
    kept: int
    share: float
    entropy: float


@dataclass(frozen=True)
class ExplainedSampling:
    """How the next token is chosen.

    Attributes:
        candidates: the most probable tokens, in the model's own order.
        stages: in the order in which they run.
        entropy: of the model's own distribution, in bits.
        vocabulary: how many tokens there are.
        sampling: the settings.
        cost: of asking; one reading of the prompt.
    """

    candidates: tuple[Candidate, ...]
    stages: tuple[SamplingStage, ...]
    entropy: float
    vocabulary: int
    sampling: Sampling
    cost: Cost

    def table(self) -> list[dict[str, Any]]:
        """A row for each candidate, as pandas takes it: its text, the model's probability, that after each stage."""
        names = [stage.name for stage in self.stages]
        return [
            {"token": each.text, "model": each.probability, **dict(zip(names, each.after, strict=True))}
            for each in self.candidates
        ]


def explain_sampling(
    prompt: LanguageModelInput,
    *,
    model: Model | None = None,
    sampling: SamplingChoice | None = None,
    answer: str = "",
    top: int = 20,
) -> ExplainedSampling:
    """The next token's probabilities, and what temperature, top-k, top-p and min-p leave of them.

    It reads the prompt before it returns; in async code write `await asyncio.to_thread(explain_sampling, …)`.

    Args:
        prompt: a text, messages, or a prompt's value.
        model: a `ChatGGUF`, perhaps with arguments bound to it; by default the settings' model.
        sampling: a preset (Table 6-1 of the book) or its name, or numbers such as `{"temperature": 1.2}`; what it does
            not say is the model's own.
        answer: the answer's beginning, which the next token follows; empty = the answer's first token.
        top: how many candidates to list.

    Raises:
        NotSupportedError: the model does not give the probabilities of all tokens.
        RequestError: the prompt is empty, or a setting cannot be used.
        ContextOverflowError: the prompt does not fit into the context.
    """
    plain, bound = unbound(chosen(model))
    if not isinstance(plain, ChatGGUF):
        raise NotSupportedError(
            f"{type(plain).__name__} does not give the probabilities of all tokens.",
            hint="Use a GGUF on this machine: ChatGGUF(model=…).",
        )
    check_prompt("explain_sampling", prompt)
    if isinstance(prompt, str) and not prompt.strip():
        raise RequestError("The prompt is empty.", hint="Pass some text.")
    if not isinstance(answer, str):
        raise RequestError(f"The answer's beginning is {answer!r:.80}.", hint="Pass a text.")
    check_counts(top=top)
    own = {name: value for name, value in bound.items() if name in Sampling.__slots__}
    return _explained(plain.next_tokens(prompt, answer=answer, **own | _numbers(sampling)), top)


def _numbers(sampling: SamplingChoice | None) -> dict[str, Any]:
    """The settings that are to replace the model's own."""
    numbers = {} if sampling is None else settings_of(sampling)
    if unknown := [str(name) for name in numbers if name not in Sampling.__slots__]:
        raise RequestError(
            f"{', '.join(unknown)} is no sampling setting.", hint=f"There are {', '.join(Sampling.__slots__)}."
        )
    return numbers


def _explained(found: NextTokens, top: int) -> ExplainedSampling:
    size = len(found.logits)
    model = _probabilities(size, np.arange(size), found.logits)
    after = [_probabilities(size, stage.tokens, stage.logits) for stage in found.stages]
    # With a repetition penalty, a token far down in the model's order may be among the last ones standing.
    listed = np.argsort(-np.maximum(model, after[-1]), kind="stable")[:top]
    candidates = tuple(
        Candidate(int(t), found.text(int(t)), found.is_end(int(t)), float(model[t]), tuple(float(p[t]) for p in after))
        for t in sorted(listed, key=lambda token: -model[token])
    )
    stages = []
    for stage, left in zip(found.stages, after, strict=True):
        name, setting = _NAMES[stage.name]
        share = float(model[stage.tokens].sum())
        stages.append(
            SamplingStage(name, getattr(found.sampling, setting), len(stage.tokens), min(1.0, share), _entropy(left))
        )
    cost = Cost(calls=1, prompt_tokens=found.usage.prompt_tokens, cached_tokens=found.usage.cached_tokens)
    return ExplainedSampling(candidates, tuple(stages), _entropy(model), size, found.sampling, cost)


def _probabilities(size: int, tokens: NDArray[Any], logits: NDArray[np.float32]) -> Probabilities:
    """The distribution over the vocabulary that some tokens' logits stand for; the others have 0."""
    weights = np.exp(logits.astype(np.float64) - logits.max())
    all_tokens = np.zeros(size)
    all_tokens[tokens] = weights / weights.sum()
    return all_tokens


def _entropy(probabilities: Probabilities) -> float:
    positive = probabilities[probabilities > 0]
    return abs(float(-(positive * np.log2(positive)).sum()))  # abs: of a certain token it would be -0.0
