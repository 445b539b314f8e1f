"""How a model's context was used for an answer, and what was left out: in words, as a small bar, and where it begins.

The bar is HTML of our own names and of whole numbers only; nothing that a model or a person wrote is in it. Does not
import Streamlit.
"""

from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage

from phireside.memory.turns import position_of

PARTS = {
    "system": "System prompt",
    "tools": "Tools",
    "memory": "Memory",
    "passages": "Passages",
    "history": "Messages",
    "answer": "Kept free for the answer",
    "left": "Left",
}
LEFT_OUT = (
    "The model did not see these when it answered. They are still in this chat. To let it know of them, choose "
    "*Summary + buffer* as the memory, below the input box, or load the model with a larger `n_ctx`."
)
SUMMARIZED = (
    "The model read a summary in the place of these, and may miss details. You can read the summary at the memory "
    "button below the input box. To have it read every word that fits, choose *Buffer* there."
)


def used(answer: AIMessage) -> dict[str, int]:
    """The parts of the context and their tokens, in the order of the bar; empty if nobody knows them."""
    known = answer.response_metadata.get("context")
    report = known if isinstance(known, dict) else {}
    return {name: report[name] for name in PARTS if isinstance(report.get(name), int) and report[name] > 0}


def notes(answer: AIMessage) -> list[tuple[str, str]]:
    """What was not sent as it is, each with what that means and what to do; Markdown."""
    counts = [_count(answer, name) for name in ("left_out", "summarized")]
    texts = (("older {} left out", LEFT_OUT), ("{} sent as a summary", SUMMARIZED))
    return [
        (f"{count:,} {text.format('message' if count == 1 else 'messages')}", meaning)
        for count, (text, meaning) in zip(counts, texts, strict=True)
        if count > 0
    ]


def border(messages: Sequence[BaseMessage]) -> tuple[int, str]:
    """Where what the last answer was given as it is begins.

    Returns:
        The position of the first message of that, and what a line before it says; 0 and nothing if that is the first.
    """
    last = next((each for each in reversed(messages) if isinstance(each, AIMessage)), AIMessage(""))
    left_out, summarized = (_count(last, name) for name in ("left_out", "summarized"))
    words = {
        (True, False): "The last answer was written without what is above this line.",
        (False, True): "Of what is above this line, the last answer had a summary.",
        (True, True): "Of what is above this line, the last answer had a summary of a part.",
    }
    begins = position_of(messages, left_out + summarized)
    return begins, words.get((left_out > 0, summarized > 0), "") if begins else ""


def _count(answer: AIMessage, name: str) -> int:
    known = answer.response_metadata.get(name)
    return known if isinstance(known, int) else 0


def bar(parts: dict[str, int]) -> str:
    """The parts side by side, as HTML; the figures are in its tooltip, and for screen readers in its label."""
    words = ", ".join(f"{PARTS[name]} {tokens:,}" for name, tokens in parts.items())
    label = f"Context in tokens: {words}"
    shares = "".join(f'<i class="{name}" style="flex-grow:{tokens}"></i>' for name, tokens in parts.items())
    return f'<div class="context-bar" role="img" aria-label="{label}" title="{label}">{shares}</div>'


def legend(parts: dict[str, int]) -> str:
    """The parts below each other with their tokens, as HTML."""
    rows = (f'<i class="{name}"></i><span>{PARTS[name]}</span><b>{tokens:,}</b>' for name, tokens in parts.items())
    return f'<div class="context-legend">{"".join(rows)}</div>'
