"""A 20-turn chat: seconds and prompt tokens evaluated per turn, ours against what LangChain offers on the same weights.

- ours: `ChatGGUF` and `BufferMemory`, the whole history.
- buffer, window, summary: the chain of the book's chapter 7: `LlamaCpp` in an `LLMChain` with
  `ConversationBufferMemory`, `ConversationBufferWindowMemory(k=4)` or `ConversationSummaryMemory`.
- chat: `ChatLlamaCpp` with the whole history.

Everyone writes greedily, at most `--max-tokens` a turn, with the same threads, context, batch size and flash attention
(`LlamaCpp`'s own default batch of 8 tokens would only make it slower). The peers take the model's own chat template and
its own rope settings (their default overrides the latter). An answer depends on the prompt, so answers differ: the
tokens written are printed. The summary's turns contain the summarising. Every pair opens with another sentence, so that
no chat finds an earlier one in a cache; caches are never cleared, for anyone.

Tokens evaluated: ours as reported in `response_metadata`; the peers' are counted where they enter `Llama.eval`.
New tokens of a turn: its prompt, less the prompt and the answer of the turn before. Ours must evaluate at most new + 8.

    python benchmarks/chat_turns.py --model starter
    python benchmarks/chat_turns.py --model /tmp/phi3-shape.gguf --pairs 1 --turns 8
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from common import Machine, parse, parser, ratios, report, settings, take_turns

if TYPE_CHECKING:
    import argparse

    from langchain_community.chat_models import ChatLlamaCpp
    from langchain_community.llms import LlamaCpp
    from langchain_core.messages import BaseMessage

    from phireside.models import ChatGGUF

SLACK = 8
ARMS = ("buffer", "window", "summary", "chat")
SCRIPT = (
    "Hello! I am Maarten, and I bake bread for a living. What can you help me with?",
    "What is the difference between baking soda and baking powder?",
    "And which of them needs something sour?",
    "My dough is too sticky today. What should I do?",
    "How warm should the water be for yeast?",
    "What is my name, and what do I do?",
    "Suggest a name for a small bakery by the harbour.",
    "Another one, please, a little funnier.",
    "Write one sentence for its sign.",
    "How many loaves are 12 trays of 6?",
    "If I sell two thirds of them, how many are left?",
    "What could I make from bread of yesterday?",
    "Tell me more about the second idea.",
    "Translate 'fresh bread every morning' into French.",
    "And into German?",
    "What is a good hour to open on Sunday?",
    "Name three kinds of flour.",
    "Which of them keeps longest?",
    "What did I ask you about the water?",
    "Thank you. Please sum up our talk in two sentences.",
)
# The book, chapter 7; `<s>` is left out because llama.cpp adds it.
QUESTION = "Current conversation:{chat_history}\n\n{input_prompt}"
SUMMARY = (
    "Summarize the conversations and update with the new lines.\n\nCurrent summary:\n{summary}\n\n"
    "new lines of conversation:\n{new_lines}\n\nNew summary:"
)


@dataclass(frozen=True)
class Turn:
    """One turn. `new` (prompt tokens that were not there before) is known for ours only."""

    seconds: float
    evaluated: int
    written: int
    new: int | None = None


Chat = Callable[[Sequence[str]], list[Turn]]


@dataclass
class Counter:
    """Counts the tokens that a `llama_cpp.Llama` evaluates as prompt and those that it writes."""

    llama: Any
    evaluated: int = 0
    written: int = 0
    _reading: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._generate, self._eval = self.llama.generate, self.llama.eval
        self.llama.generate, self.llama.eval = self._count_written, self._count_evaluated

    def _count_written(self, *args: Any, **kwargs: Any) -> Iterator[int]:
        self._reading = True  # the first evaluation of an answer is the prompt's
        for token in self._generate(*args, **kwargs):
            self.written += 1
            yield token

    def _count_evaluated(self, tokens: Sequence[int]) -> None:
        if self._reading:
            self.evaluated += len(tokens)
            self._reading = False
        self._eval(tokens)

    def turn(self, answer: Callable[[], object]) -> Turn:
        """Time and count what `answer` does."""
        self.evaluated = self.written = 0
        start = time.perf_counter()
        answer()
        return Turn(time.perf_counter() - start, self.evaluated, self.written)


def main() -> int:
    """Let everyone chat in turns, print the tables; 1 if ours evaluated more than it may."""
    options = parser(__doc__)
    options.add_argument("--turns", type=int, default=len(SCRIPT), help="of the script's turns (default: all 20)")
    options.add_argument("--max-tokens", type=int, default=48, help="of each answer (default: 48)")
    options.add_argument(
        "--arms", nargs="+", choices=ARMS, default=list(ARMS), help="who takes part beside ours (default: everyone)"
    )
    options = parse(options)
    machine = Machine.now()
    print(machine, f"model:   {options.path.name}", sep="\n")
    warnings.simplefilter("ignore")  # the peers are deprecated, and say so
    chats = {"ours": ours(options)} | peers(options)
    script = SCRIPT[: options.turns]
    arms = {name: partial(_play, chat, script) for name, chat in chats.items()}
    results = take_turns(arms, options.pairs)
    _print_turns(results)
    _print_totals(results)
    report(options, machine, {"chats": results})
    return _check(results)


def _play(chat: Chat, script: Sequence[str], pair: int) -> list[Turn]:
    return chat([f"Chat {pair + 1}. {script[0]}", *script[1:]])


def ours(options: "argparse.Namespace") -> Chat:
    """`ChatGGUF` with `BufferMemory`, loaded."""
    from phireside.memory import BufferMemory
    from phireside.models import ChatGGUF

    model = ChatGGUF(
        model=str(options.path),
        settings=settings(options),
        temperature=0.0,
        repeat_penalty=1.0,
        max_tokens=options.max_tokens,
    )
    model.invoke("Hello.")
    return partial(_chat_ours, model, BufferMemory(), options.n_ctx - options.max_tokens)


def _chat_ours(model: "ChatGGUF", memory: Any, budget: int, script: Sequence[str]) -> list[Turn]:
    from langchain_core.messages import HumanMessage

    messages: list[BaseMessage] = []
    turns: list[Turn] = []
    before = 0
    for text in script:
        start = time.perf_counter()
        messages.append(HumanMessage(text))
        selection = memory.select(messages, budget, model.get_num_tokens_from_messages)
        if selection.left_out:
            sys.exit(f"The chat does not fit into {budget} tokens of context: use fewer --turns or a greater --n-ctx.")
        answer = model.invoke(selection.messages)
        seconds = time.perf_counter() - start
        messages.append(answer)
        usage = answer.usage_metadata
        turns.append(
            Turn(
                seconds,
                answer.response_metadata["evaluated_tokens"],
                usage["output_tokens"],
                usage["input_tokens"] - before,
            )
        )
        before = usage["total_tokens"]
    return turns


def peers(options: "argparse.Namespace") -> dict[str, Chat]:
    """The peers that were asked for, loaded. The three chains share one `LlamaCpp`, as each of them runs alone."""
    chains = [name for name in options.arms if name != "chat"]
    chats: dict[str, Chat] = {}
    if chains:
        from langchain_community.llms import LlamaCpp

        llm = LlamaCpp(**_peer_options(options))
        llm.invoke("Hello.")
        counter = Counter(llm.client)
        chats |= {name: partial(_chat_chain, name, llm, counter) for name in chains}
    if "chat" in options.arms:
        from langchain_community.chat_models import ChatLlamaCpp

        model = ChatLlamaCpp(**_peer_options(options))
        model.invoke("Hello.")
        chats["chat"] = partial(_chat_llama_cpp, model, Counter(model.client))
    return chats


def _peer_options(options: "argparse.Namespace") -> dict[str, Any]:
    return {
        "model_path": str(options.path),
        "n_ctx": options.n_ctx,
        "n_threads": options.threads,
        "n_batch": options.n_batch,
        "max_tokens": options.max_tokens,
        "temperature": 0.0,
        "repeat_penalty": 1.0,
        "rope_freq_base": 0.0,  # 0 = the model's own
        "rope_freq_scale": 0.0,
        "model_kwargs": {"n_threads_batch": options.threads, "flash_attn": True},
        "verbose": False,
    }


def _chat_chain(kind: str, llm: "LlamaCpp", counter: Counter, script: Sequence[str]) -> list[Turn]:
    """The book's chain with a new memory of that kind."""
    from langchain_classic.chains import LLMChain
    from langchain_classic.memory import (
        ConversationBufferMemory,
        ConversationBufferWindowMemory,
        ConversationSummaryMemory,
    )

    warnings.simplefilter("ignore")  # again: importing LangChain switches its own warnings on
    key = {"memory_key": "chat_history"}
    if kind == "buffer":
        memory = ConversationBufferMemory(**key)
    elif kind == "window":
        memory = ConversationBufferWindowMemory(k=4, **key)
    else:
        memory = ConversationSummaryMemory(llm=llm, prompt=_user_prompt(llm, SUMMARY), **key)
    chain = LLMChain(llm=llm, prompt=_user_prompt(llm, QUESTION), memory=memory)
    return [counter.turn(partial(chain.invoke, {"input_prompt": text})) for text in script]


def _user_prompt(llm: "LlamaCpp", content: str) -> Any:
    """A LangChain prompt: `content` as the user's message in the model's own template, as the book writes Phi-3's."""
    from langchain_core.prompts import PromptTemplate
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    template = llm.client.metadata["tokenizer.chat_template"]
    formatter = Jinja2ChatFormatter(template=template, bos_token="", eos_token="")
    return PromptTemplate.from_template(formatter(messages=[{"role": "user", "content": content}]).prompt)


def _chat_llama_cpp(model: "ChatLlamaCpp", counter: Counter, script: Sequence[str]) -> list[Turn]:
    """`ChatLlamaCpp` with the whole history."""
    from langchain_core.messages import HumanMessage

    messages: list[BaseMessage] = []

    def answer(text: str) -> None:
        messages.append(HumanMessage(text))
        messages.append(model.invoke(messages))

    return [counter.turn(partial(answer, text)) for text in script]


def _print_turns(results: Sequence[dict[str, list[Turn]]]) -> None:
    """Seconds and tokens evaluated of every turn, medians over the pairs."""
    names = list(results[0])
    print("\nmedians: seconds / prompt tokens evaluated\nturn " + "".join(f"{name:>18}" for name in sorted(names)))
    for number in range(len(results[0][names[0]])):
        cells = []
        for name in sorted(names):
            turns = [pair[name][number] for pair in results]
            seconds, evaluated = median(turn.seconds for turn in turns), median(turn.evaluated for turn in turns)
            cells.append(f"{seconds:9.2f} /{evaluated:7.0f}")
        print(f"{number + 1:4} " + "".join(cells))


def _print_totals(results: Sequence[dict[str, list[Turn]]]) -> None:
    """Totals of a whole chat, medians over the pairs, and the ratio of seconds to ours within pairs."""
    print(f"\n{'whole chat':10}{'seconds':>10}{'evaluated':>11}{'written':>9}   seconds, divided by ours")
    for name in sorted(results[0]):
        seconds, evaluated, written = (
            median(sum(getattr(turn, figure) for turn in pair[name]) for pair in results)
            for figure in ("seconds", "evaluated", "written")
        )
        ratio = ratios(results, name, "ours", lambda turns: sum(turn.seconds for turn in turns))
        print(f"{name:10}{seconds:10.1f}{evaluated:11.0f}{written:9.0f}   {ratio.text(2)}")


def _check(results: Sequence[dict[str, list[Turn]]]) -> int:
    """Print by how much ours stayed within new tokens + 8; 1 if it did not on any turn."""
    turns = [turn for pair in results for turn in pair["ours"]]
    excess = [turn.evaluated - (turn.new or 0) for turn in turns]
    broken = sum(tokens > SLACK for tokens in excess)
    print(f"\nours: at most new tokens {max(excess):+d}, of +{SLACK}; broken in {broken} of {len(turns)} turns")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
