"""Tokens per second through `ChatGGUF.stream`, divided by those of a bare `llama_decode` loop. Target: at least 0.97.

Both write the same number of tokens greedily after the same prompt, with the same threads, context, batch size, flash
attention and KV types; the bare loop (models/engine/bare.py) has a context of its own with one sequence, makes no text
and ignores the model's end. Both have the prompt in their cache but for its last token, and the clock runs over the
whole call: LangChain's part, rendering and tokenising count against ours. Where a model ends before `--tokens`, both
write as many as it wrote; the number is printed. Texts may part at a near tie: llama.cpp itself gives slightly other
logits when the same tokens lie in other cells of the cache or come in another batch.

    python benchmarks/decode.py --model starter
    python benchmarks/decode.py --model /tmp/phi3-shape.gguf --tokens 128
"""

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common import Machine, Spread, parse, parser, ratios, report, settings, take_turns

if TYPE_CHECKING:
    from phireside.models import ChatGGUF
    from phireside.models.engine.bare import Bare
    from phireside.models.engine.vocabulary import Vocabulary

TARGET = 0.97
QUESTION = "Write a long story about a lighthouse keeper, her dog, and the boats that come and go. Describe every day."


@dataclass(frozen=True)
class Run:
    """One answer: its text, how many tokens it has, and the seconds of the whole call."""

    text: str
    tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


def main() -> int:
    """Measure in turns; 1 if the median is below the target."""
    options = parser(__doc__)
    options.add_argument("--tokens", type=int, default=256, help="tokens to write (default: 256)")
    options = parse(options)
    machine = Machine.now()
    print(machine, f"model:   {options.path.name}", sep="\n")
    from phireside.models import ChatGGUF
    from phireside.models.engine.bare import Bare
    from phireside.models.runtime import Runtime

    chosen = settings(options)
    ours = ChatGGUF(
        model=str(options.path),
        settings=chosen,
        temperature=0.0,
        repeat_penalty=1.0,
        max_tokens=options.tokens,
    )
    count = stream(ours).tokens  # loads the model, too
    print(f"tokens:  {count} of {options.tokens}{'' if count == options.tokens else ': the model ended there'}")
    encoder = Runtime(options.path, chosen.engine).encoder()
    prompt = encoder.encode(encoder.render([{"role": "user", "content": QUESTION}]))
    with Bare(options.path, chosen.engine, options.n_ctx, (options.threads, options.threads)) as peer:
        peer.read(prompt)
        arms = {
            "ChatGGUF.stream": lambda _: stream(ours),
            "bare llama_decode": lambda _: loop(peer, encoder.vocabulary, prompt, count),
        }
        results = take_turns(arms, options.pairs)
    same = sum(pair["ChatGGUF.stream"].text == pair["bare llama_decode"].text for pair in results)
    print(f"texts:   the same in {same} of {len(results)} pairs\n")
    for name in arms:
        print(f"{name:20} {Spread.of([pair[name].rate for pair in results]).text():>24} tokens/s")
    ratio = ratios(results, "ChatGGUF.stream", "bare llama_decode", lambda run: run.rate)
    met = ratio.median >= TARGET
    print(f"{'ratio':20} {ratio.text(3):>24} target {TARGET}: {'met' if met else 'MISSED'}")
    report(options, machine, {"ratio": ratio, "runs": results})
    return 0 if met else 1


def stream(model: "ChatGGUF") -> Run:
    """Let ours write."""
    text, usage = "", None
    start = time.perf_counter()
    for chunk in model.stream(QUESTION):
        text += chunk.text
        usage = chunk.usage_metadata or usage
    seconds = time.perf_counter() - start
    assert usage, "the stream reported no usage"
    return Run(text, usage["output_tokens"], seconds)


def loop(model: "Bare", vocabulary: "Vocabulary", prompt: list[int], count: int) -> Run:
    """Let llama.cpp write."""
    start = time.perf_counter()
    tokens = [model.read(prompt, cached=len(prompt) - 1), *model.write(count - 1)]
    seconds = time.perf_counter() - start
    return Run(b"".join(map(vocabulary.piece, tokens)).decode("utf-8", "replace"), count, seconds)


if __name__ == "__main__":
    sys.exit(main())
