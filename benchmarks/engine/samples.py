"""Eight samples of one 800-token prompt, 60 tokens each: `Engine.fork`, and `ChatLlamaCpp` one by one. Target: 4.

Seconds from asking to the last token of the last sample. Ours reads the prompt once and lets eight branches write in
one batch. `ChatLlamaCpp` (langchain-community) is asked eight times with eight seeds. Its `Llama` object notices that
the prompt is the same and evaluates only its last token from the second time on; that is left as it is. Same messages,
template, sampling, threads, context and batch size. Every pair has another prompt, so that none is in a cache.

    python benchmarks/engine/samples.py --model starter
    python benchmarks/engine/samples.py --model /tmp/phi3-shape.gguf
"""

import argparse
import sys
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from rows import Comparison, Run, chat_prompt, conclude, llama_options, measure, open_engine, prompt, start, text

if TYPE_CHECKING:
    from chat_turns import Counter

    from phireside.models.engine import Engine

SAMPLING = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "repeat_penalty": 1.0}  # min_p is 0.05 on both sides


def main() -> int:
    """Measure in turns; 1 if the median is below the target."""
    options = start(
        __doc__,
        samples=(8, "samples"),
        length=(800, "tokens of the prompt"),
        tokens=(60, "tokens of each sample"),
    )
    warnings.simplefilter("ignore")  # the peer is deprecated, and says so
    from chat_turns import Counter  # with the peer's packages, after --help has answered
    from langchain_community.chat_models import ChatLlamaCpp

    with open_engine(options, n_sequences=max(8, options.samples)) as engine:
        common = llama_options(options) | SAMPLING | {"max_tokens": options.tokens}
        extra = {name: common.pop(name) for name in ("flash_attn", "n_threads_batch")}
        own = {"rope_freq_base": 0.0, "rope_freq_scale": 0.0}  # 0 = the model's
        peer = ChatLlamaCpp(model_path=str(options.path), model_kwargs=extra, **common, **own)
        arms = {
            "engine, forked": partial(ours, engine, options),
            "ChatLlamaCpp": partial(theirs, peer, Counter(peer.client), engine, options),
        }
        results = measure(options, arms)
    for name in arms:
        print(f"{name:32} (evaluated, wrote): {[(pair[name].detail, pair[name].tokens) for pair in results]}")
    row = f"{options.samples} samples of one prompt"
    return conclude(options, results, [Comparison(row, "engine, forked", "ChatLlamaCpp", "s", 4.0)])


def question(engine: "Engine", pair: int, length: int) -> str:
    """A user's message that makes a prompt of `length` tokens, give or take a few."""
    wish = "\n\nGo on with this story. Write at least ten sentences."
    tokens = prompt(engine.vocabulary, 3000 + pair, length - len(chat_prompt(engine, wish)))
    return text(engine.vocabulary, tokens) + wish


def ours(engine: "Engine", options: argparse.Namespace, pair: int) -> Run:
    """One prompt, and its samples in one batch."""
    from phireside.models.engine import Request, Sampling

    tokens = chat_prompt(engine, question(engine, pair, options.length))
    request = Request(tuple(tokens), Sampling(**SAMPLING, min_p=0.05, seed=pair), options.tokens)
    begun = time.perf_counter()
    usages = []
    for sample in engine.fork(request, options.samples):
        for _ in sample:
            pass
        usages.append(sample.usage)
    seconds = time.perf_counter() - begun
    return Run(seconds, sum(u.generated_tokens for u in usages), sum(u.evaluated_tokens for u in usages))


def theirs(model: Any, counter: "Counter", engine: "Engine", options: argparse.Namespace, pair: int) -> Run:
    """The same, one after another."""
    from langchain_core.messages import HumanMessage

    messages = [HumanMessage(question(engine, pair, options.length))]

    def all_samples() -> None:
        for seed in range(options.samples):
            model.invoke(messages, seed=seed)

    turn = counter.turn(all_samples)
    return Run(turn.seconds, turn.written, turn.evaluated)


if __name__ == "__main__":
    sys.exit(main())
