"""`self_consistency`: several paths of thought to one question, and the answer that most of them come to.

After Wang et al. 2022 ("Self-Consistency Improves Chain of Thought Reasoning in Language Models"). The paths run at the
same time: the engine reads their prompt once and writes them in one batch. They end when the vote is decided.
"""

import json
from collections import Counter
from collections.abc import AsyncGenerator, Hashable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from phireside.chains.chain import Chain
from phireside.chains.chain_of_thought import CotPrompt, Shown
from phireside.chains.forms import Form
from phireside.chains.given import Model, check_counts
from phireside.chains.loop import merged
from phireside.chains.paths import Path, Reasoned, Thinker, or_failed
from phireside.chains.prompt_files import Override, load_prompts
from phireside.errors import EngineError

AT_ONCE = 8  # as many as the engine has sequences for, unless it is told otherwise


def self_consistency(
    n: int = 5,
    *,
    model: Model | None = None,
    examples: Shown = "book",
    form: Form[Any] | None = None,
    max_tokens: int = 256,
    temperature: float = 0.7,
    at_once: int = AT_ONCE,
    prompts: Override = None,
) -> "SelfConsistency":
    """A chain from a question to a `Reasoned` with n paths, answered by majority.

    Answers are the same if their values are: 3 and 3.0, or texts that differ in case and spaces. In a tie the answer of
    the path with the lowest number wins, whichever was ready first. The vote is decided, and the paths that are still
    written are cancelled, when no other answer could get as many votes as the leading one has. A path whose answer
    cannot be read has no vote. `agreement` counts the votes that were cast: 3 of 3 is 1.0, and the 2 that nobody waited
    for might have made it 0.6; certain is only the share of all n.

    Args:
        n: paths.
        model, examples, form, max_tokens, prompts: see `chain_of_thought`, whose prompts these are.
        temperature: of the reasoning; above 0, or all paths are the same. A model with a seed uses seed, seed + 1, …
        at_once: paths that run at the same time.

    Raises:
        RequestError: n, at_once or max_tokens is below 1.
        EngineError: (at the call) no path has an answer.
    """
    check_counts(n=n, at_once=at_once)
    file = load_prompts("chain_of_thought", prompts)
    thinker = Thinker.of(model, form, file, max_tokens, temperature)
    return SelfConsistency(thinker, CotPrompt(file, examples), n, at_once)


class SelfConsistency(Chain[Reasoned]):
    """See `self_consistency`."""

    variables = ("question",)

    def __init__(self, thinker: Thinker, prompt: CotPrompt, n: int, at_once: int) -> None:
        super().__init__(thinker.parts(**{prompt.name: prompt.template}), name="self_consistency")
        self._thinker, self._prompt, self._n, self._at_once = thinker, prompt, n, at_once

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[Reasoned, None]:
        """All paths as they grow, and the vote so far."""
        messages = await self._prompt.messages(given["question"])
        paths = [Path() for _ in range(self._n)]
        streams = [or_failed(self._thinker.path(messages, number)) for number in range(self._n)]
        async with aclosing(merged(dict(enumerate(streams)), self._at_once)) as grown:
            async for number, path in grown:
                paths[number] = path
                if decided(paths):
                    break
                yield _result(paths)
        if not any(path.state == "answered" for path in paths):
            raise EngineError(f"None of {self._n} paths has an answer; the first: {paths[0].problem}")
        yield _result([replace(path, state="dropped") if path.state == "growing" else path for path in paths])


def vote(paths: Sequence[Path]) -> tuple[Any, float]:
    """The answer with most votes, and its share of the votes; None and 0 if there are none.

    Args:
        paths: by number; those that are not answered have no vote.
    """
    keys = [answer_key(path.answer) for path in paths if path.state == "answered"]
    if not keys:
        return None, 0.0
    winner, votes = Counter(keys).most_common(1)[0]  # of equal ones the first that was counted
    answer = next(path.answer for path in paths if path.state == "answered" and answer_key(path.answer) == winner)
    return answer, votes / len(keys)


def decided(paths: Sequence[Path]) -> bool:
    """Whether no other answer can get as many votes as the first has, whatever the growing paths come to."""
    votes = Counter(answer_key(path.answer) for path in paths if path.state == "answered").most_common(2)
    growing = sum(path.state == "growing" for path in paths)
    most, second = [*(count for _, count in votes), 0, 0][:2]
    return most > second + growing


def answer_key(value: Any) -> Hashable:
    """What equal answers have in common."""
    if isinstance(value, str):
        return " ".join(value.casefold().split())
    if isinstance(value, BaseModel | Mapping | list) or not isinstance(value, Hashable):
        return json.dumps(to_jsonable_python(value, fallback=str), sort_keys=True)
    return value


def _result(paths: Sequence[Path]) -> Reasoned:
    return Reasoned.of(paths, *vote(paths))
