"""Two prompt families in turn, a chat and its summariser: prompt tokens evaluated, ours and one `Llama` object.

After every turn of a chat the summariser is asked as well, as a summary memory does; both prompts only grow at their
end. Ours keeps a sequence for each family: it must evaluate at most the new tokens + 8 of every prompt. A `Llama`
object keeps one sequence and begins again at the first token that differs. Both get the same tokens: answers are short,
and the next prompt holds made-up ones instead. The ratio is of tokens evaluated.

    python benchmarks/engine/families.py --model starter
    python benchmarks/engine/families.py --model /tmp/phi3-shape.gguf --pairs 5 --turns 6
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rows import Comparison, Run, conclude, measure, open_engine, open_llama, prompt, prose, start

if TYPE_CHECKING:
    from phireside.models.engine import Engine

SLACK = 8
HEADS = ("You are a helpful assistant. The talk so far:\n", "Sum up this talk in two sentences:\n")
Ask = Callable[[Sequence[int]], int]


def main() -> int:
    """Measure in turns; 1 if ours evaluated more than new tokens + 8 anywhere."""
    options = start(__doc__, turns=(10, "turns of the chat"), added=(60, "tokens that a turn adds"))
    from chat_turns import Counter  # counts what a `Llama` evaluates

    with open_engine(options) as engine:
        peer = open_llama(options)
        counter = Counter(peer)

        def talk(ask: Ask, pair: int) -> Run:
            seconds, excess, evaluated = 0.0, 0, 0
            for new, tokens in prompts(engine, pair, options.turns, options.added):
                begun = time.perf_counter()
                count = ask(tokens)
                seconds += time.perf_counter() - begun
                evaluated += count
                excess = max(excess, count - new)
            return Run(seconds, evaluated, excess)

        arms = {
            "engine": partial(talk, partial(ask_engine, engine)),
            "Llama object": partial(talk, partial(ask_llama, peer, counter)),
        }
        results = measure(options, arms)
    for name in arms:
        print(f"{name:32} seconds {[round(pair[name].seconds, 2) for pair in results]}")
    worst = max(pair["engine"].detail for pair in results)
    print(f"ours evaluated at most new tokens + {worst}; allowed: {SLACK}")
    problems = [f"ours evaluated new tokens + {worst}"] if worst > SLACK else []
    comparison = Comparison("two families, tokens evaluated", "engine", "Llama object", "tokens", 1.0)
    return conclude(options, results, [comparison], problems)


def prompts(engine: "Engine", pair: int, turns: int, length: int) -> list[tuple[int, list[int]]]:
    """The prompts in the order they are asked in, each with how many of its tokens its family has not had before."""
    asked = []
    grown = [prompt(engine.vocabulary, 5000 + pair, 12), prompt(engine.vocabulary, 6000 + pair, 12)]
    for family, head in enumerate(HEADS):
        grown[family] += engine.vocabulary.tokenize(head, markers=False)
    for turn in range(turns):
        added = engine.vocabulary.tokenize(f"\n{prose(turn, length)}", markers=False)[:length]
        for family in range(len(HEADS)):
            grown[family] += added
            asked.append((len(grown[family]) if turn == 0 else len(added), list(grown[family])))
    return asked


def ask_engine(engine: "Engine", tokens: Sequence[int]) -> int:
    """A short answer of ours; prompt tokens that were evaluated for it."""
    from phireside.models.engine import Request, Sampling

    answer = engine.complete(Request(tuple(tokens), Sampling(temperature=0.0), 4))
    for _ in answer:
        pass
    assert answer.usage
    return answer.usage.evaluated_tokens


def ask_llama(llama: Any, counter: Any, tokens: Sequence[int]) -> int:
    """The same of the peer."""
    turn = counter.turn(lambda: llama(list(tokens), max_tokens=4, temperature=0.0))
    return int(turn.evaluated)


if __name__ == "__main__":
    sys.exit(main())
