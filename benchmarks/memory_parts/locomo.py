"""A LoCoMo conversation turn by turn: what each memory sends, what that costs, and what could still be answered.

LoCoMo (Maharana et al. 2024, "Evaluating Very Long-Term Conversational Memory of LLM Agents"): two people talk over
many sessions; questions about it name the turns that their answers stand in. Here the one who speaks first is the human
and the other the AI, whose recorded answers are used, so that every memory sees the same conversation. As in LoCoMo's
own prompts a session begins with its date, and a picture is its caption. No answer is judged.
"""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from langchain_core.messages import BaseMessage
from memory_parts.strategies import Meter, Setting, Strategy

from phireside.errors import ContextOverflowError, PhiresideError

_COMMON = """a an the and or of to in on at by for with from as is are was were be been she he her his him they their
it its that this what when where who how which would could did do does has have had not no yes s t"""
COMMON_WORDS = frozenset(re.findall(r"\w+", _COMMON))


@dataclass(frozen=True)
class Turn:
    """What the human said and the AI answered."""

    human: str
    ai: str


@dataclass(frozen=True)
class Question:
    """A question about the conversation.

    Attributes:
        evidence: what was said that answers it, word for word.
        words: of the answer, without common ones.
        since: the turn (0-based) after which all evidence has been said.
    """

    evidence: tuple[str, ...]
    words: frozenset[str]
    since: int


@dataclass(frozen=True)
class Talk:
    """A conversation and the questions that can be asked before its last answer."""

    turns: Sequence[Turn]
    questions: Sequence[Question]


@dataclass(frozen=True)
class Point:
    """One turn: what was sent and what it cost. Tokens and seconds; "before" is before the first token of the answer.

    Attributes:
        said: the text that was sent; empty if the prompt did not fit.
        sent: tokens of the prompt.
        before, after: tokens evaluated, summaries included.
        written: tokens of summaries and facts, and one for each reading ahead.
        seconds_before, seconds_after: see above.
        error: why there was no answer or no summary.
    """

    said: str = field(repr=False)
    sent: int
    before: int
    after: int
    written: int
    seconds_before: float
    seconds_after: float
    error: str = ""


def load(path: Path, most: int | None = None) -> Talk:
    """A conversation of LoCoMo's JSON.

    Args:
        path: a list with one conversation, or several of which the first is taken.
        most: turns, from the first on; None = all.
    """
    data = json.loads(path.read_text())[0]
    turns, said, places = _turns(data["conversation"])
    turns = turns[:most]
    questions = []
    for asked in data["qa"]:
        ids = [name for text in asked["evidence"] for name in re.findall(r"D\d+:\d+", text)]
        if "answer" not in asked or not ids or not all(name in said for name in ids):
            continue  # one that has no answer, or that no turn answers
        since = max(places[name] for name in ids)
        if since < len(turns) - 1:
            questions.append(Question(tuple(said[name] for name in ids), content_words(str(asked["answer"])), since))
    return Talk(turns, questions)


def _turns(sessions: dict[str, object]) -> tuple[list[Turn], dict[str, str], dict[str, int]]:
    """Turns; what was said under each name of LoCoMo's; and in which turn."""
    human, said, places = sessions["speaker_a"], dict[str, str](), dict[str, int]()
    spoken: list[tuple[bool, list[str]]] = []  # whether the human speaks, and what: neighbours are put together
    for number in range(1, len(sessions)):
        for i, line in enumerate(sessions.get(f"session_{number}", [])):  # type: ignore[arg-type, var-annotated]
            text = said[line["dia_id"]] = _text(line)
            if not spoken or spoken[-1][0] is not (line["speaker"] == human):
                spoken.append((line["speaker"] == human, []))
            spoken[-1][1].append(text if i else f"[{sessions[f'session_{number}_date_time']}] {text}")
            places[line["dia_id"]] = (len(spoken) - 1) // 2
    assert spoken[0][0], "the human speaks first"
    texts = ["\n".join(parts) for _, parts in spoken]
    return [Turn(*pair) for pair in zip(texts[::2], texts[1::2], strict=False)], said, places


def _text(line: dict[str, str]) -> str:
    text = " ".join(line["text"].split())
    return f"{text} (shares {line['blip_caption']})" if "blip_caption" in line else text


def content_words(text: str) -> frozenset[str]:
    """The words of a text without common ones, in lower case."""
    return frozenset(re.findall(r"[^\W_]+", text.casefold())) - COMMON_WORDS


def replay(strategy: Strategy, talk: Talk, setting: Setting, meter: Meter) -> list[Point]:
    """All turns in order. Of each answer one token is written and thrown away: it takes the reading of the prompt.

    Args:
        strategy: a memory that has seen nothing yet.
        talk: the conversation.
        setting: has the model that reads the prompts; a prompt beyond the budget leaves no room for an answer.
        meter: counts what the model does, for the memory too.
    """
    points = []
    for turn in talk.turns:
        messages: list[BaseMessage] = []
        start, read, written = time.perf_counter(), meter.evaluated, meter.written
        try:
            messages = strategy.prompt(turn.human)
            sent, error = _read(messages, setting), ""
        except PhiresideError as failed:
            messages, sent, error = [], 0, str(failed)
        answered, read_before = time.perf_counter(), meter.evaluated
        try:
            strategy.finish(turn.human, turn.ai)
        except PhiresideError as failed:
            error = error or str(failed)
        after = time.perf_counter() - answered
        said = "\n".join(message.text for message in messages)
        more, own = meter.evaluated - read_before, meter.written - written - bool(messages)
        points.append(Point(said, sent, read_before - read, more, own, answered - start, after, error))
    return points


def _read(messages: list[BaseMessage], setting: Setting) -> int:
    """Have a prompt read; its tokens."""
    if (tokens := setting.model.get_num_tokens_from_messages(messages)) > setting.budget:
        raise ContextOverflowError(f"The prompt has {tokens} tokens, of {setting.budget}.", hint="It is not cut.")
    setting.model.invoke(messages, max_tokens=1)
    return tokens


def reachable(talk: Talk, sent: Sequence[str]) -> dict[str, float]:
    """What of the questions' answers is in the prompts.

    A question counts from the turn after its last evidence on, all questions alike.

    Args:
        talk: conversation and questions.
        sent: the prompt of each turn, as text.

    Returns:
        Shares from 0 to 1: "evidence" (of the evidence's messages, word for word) and "words" (of the questions, those
        whose answer's words are all there), each on average over the turns since, and with the last prompt ("_end").
    """
    words = [content_words(text) for text in sent]
    return {
        **_shares("evidence", talk, lambda one, turn: fmean(text in sent[turn] for text in one.evidence)),
        **_shares("words", talk, lambda one, turn: float(one.words <= words[turn])),
    }


def _shares(name: str, talk: Talk, share: Callable[[Question, int], float]) -> dict[str, float]:
    last = len(talk.turns) - 1
    if not talk.questions:
        return {name: 0.0, f"{name}_end": 0.0}
    mean = fmean(fmean(share(one, turn) for turn in range(one.since + 1, last + 1)) for one in talk.questions)
    return {name: mean, f"{name}_end": fmean(share(one, last) for one in talk.questions)}


def figures(talk: Talk, points: Sequence[Point]) -> dict[str, float]:
    """Means per turn over the turns that were answered, and what was reachable over all of them."""
    answered = [point for point in points if point.said]
    names = ("sent", "before", "after", "written", "seconds_before", "seconds_after")
    means = {name: fmean(getattr(point, name) for point in answered) if answered else 0.0 for name in names}
    costs = means | {"evaluated": means["before"] + means["after"], "failed": sum(bool(p.error) for p in points)}
    return reachable(talk, [point.said for point in points]) | costs


def everything(talk: Talk) -> list[str]:
    """What a prompt without a limit would have, turn by turn: the most that can be reached."""
    texts: list[str] = []
    sent = []
    for turn in talk.turns:
        texts.append(turn.human)
        sent.append("\n".join(texts))
        texts.append(turn.ai)
    return sent
