"""What is evaluated in a conversation, worked out from the tokens of its prompts: only what is new.

The tokenizer and the template are a real model's; its weights are not needed. The cache is the engine's at its best:
whatever was read or written before is found again, as far as a prompt begins with it.
"""

import random
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from rehearsed import rehearsed

from phireside.memory import BufferMemory, Memory, MemoryState, SummaryBufferMemory, SummaryMemory, WindowMemory
from phireside.models.encoding import PromptEncoder
from phireside.models.engine import Vocabulary
from phireside.models.messages import to_turns
from phireside.models.templates import ChatTemplate

pytestmark = pytest.mark.real
SLACK = 8
ROOM = 700
WORDS = (
    "the", "bread", "a", "harbour", "is", "33", "warm,", "my", "name", "Zoë?", "in\n1.", "and", "12:30", "naïve",
    "don't", "日本", "bakes", "(two)", "of", "-", "...", "!",
)  # fmt: skip
STRATEGIES: dict[str, Callable[[], Memory]] = {
    "buffer": BufferMemory,
    "window": lambda: WindowMemory(6),
    "summary": lambda: SummaryMemory(max_tokens=60, max_facts=0),
    "summary and buffer": lambda: SummaryBufferMemory(max_tokens=60),
}


@pytest.fixture(params=["starter", "phi-3"])
def encoder(request: pytest.FixtureRequest) -> PromptEncoder:
    """Of the starter, and of Phi-3, which has no system role."""
    path: Path = request.getfixturevalue({"starter": "starter_path", "phi-3": "tiny_phi3"}[request.param])
    vocabulary = Vocabulary(path)
    bos, eos = vocabulary.text(vocabulary.bos), vocabulary.text(vocabulary.eos)
    return PromptEncoder(vocabulary, ChatTemplate(vocabulary.chat_template, bos=bos, eos=eos))


class Cache:
    """Prompts with their answers, in tokens, and what a new prompt does not find among them."""

    def __init__(self, encoder: PromptEncoder) -> None:
        self.encoder, self.known = encoder, [[0]]

    def count(self, messages: Sequence[BaseMessage]) -> int:
        return len(self.encoder.encode(self.encoder.render(to_turns(messages))))

    def ask(self, messages: Sequence[BaseMessage], answer: str) -> tuple[int, int, int]:
        """Tokens of the prompt, of these evaluated, and of prompt and answer together."""
        prompt = self.encoder.render(to_turns(messages))
        tokens = self.encoder.encode(prompt)
        found = max(sum(1 for _ in takewhile(lambda ab: ab[0] == ab[1], zip(tokens, known))) for known in self.known)  # noqa: B905
        written = self.encoder.vocabulary.tokenize(answer, markers=False)
        self.encoder.remember(prompt, tokens, answer, written)
        self.known.append([*tokens, *written])
        return len(tokens), len(tokens) - min(found, len(tokens) - 1), len(tokens) + len(written)


def words(chance: random.Random, most: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(chance.randint(1, most)))


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("seed", [1, 2])
async def test_at_most_what_is_new_and_eight_are_evaluated_between_compactions(
    encoder: PromptEncoder, name: str, seed: int
) -> None:
    memory, model, chance, cache = STRATEGIES[name](), rehearsed(), random.Random(seed), Cache(encoder)
    history: list[BaseMessage] = [SystemMessage("You are a helpful assistant.")]
    state, before, before_total, steady = MemoryState(), None, 0, 0
    read = evaluated_in_all = 0
    for _ in range(60):
        # A marker in a question is text like any other. (In an answer it would be tokenised again: nothing of ours.)
        history.append(HumanMessage(words(chance, 25) + chance.choice(["", " <|end|>", " <|im_end|>"])))
        sent = memory.select(history, ROOM, cache.count, state)
        answer = words(chance, 25)
        prompt, evaluated, total = cache.ask(sent.messages, answer)
        assert prompt == sent.tokens <= ROOM
        if before == (sent.left_out, sent.summarized):
            assert evaluated <= prompt - before_total + SLACK
            steady += 1
        before, before_total = (sent.left_out, sent.summarized), total
        read, evaluated_in_all = read + prompt, evaluated_in_all + evaluated
        history.append(AIMessage(answer))
        state = [state, *[new async for new in memory.updates(history, ROOM, cache.count, state, model)]][-1]
    if name == "summary":
        return  # its compaction is after each turn
    assert steady >= 40
    assert evaluated_in_all < read / 2
