"""benchmarks/memory.py counts what it says: evidence, words, tokens, growth, goals. With a model that is a script."""

import json
import sys
import xml.etree.ElementTree as ET
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from weights import BENCHMARKS, load_benchmark

pytest.importorskip("langchain_classic", reason="the peers come with the extra `bench`")
pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")

LOCOMO = {
    "conversation": {
        "speaker_a": "Ann",
        "speaker_b": "Bob",
        "session_1_date_time": "7 May",
        "session_1": [
            {"speaker": "Ann", "dia_id": "D1:1", "text": "I have  a dog."},
            {"speaker": "Bob", "dia_id": "D1:2", "text": "Nice!"},
            {"speaker": "Ann", "dia_id": "D1:3", "text": "Look.", "blip_caption": "a grey dog"},
            {"speaker": "Bob", "dia_id": "D1:4", "text": "So sweet."},
        ],
        "session_2_date_time": "9 June",
        "session_2": [
            {"speaker": "Bob", "dia_id": "D2:1", "text": "I moved to Rome."},
            {"speaker": "Ann", "dia_id": "D2:2", "text": "I bought 3 lamps."},
            {"speaker": "Bob", "dia_id": "D2:3", "text": "Which ones?"},
            {"speaker": "Ann", "dia_id": "D2:4", "text": "Red ones."},
            {"speaker": "Bob", "dia_id": "D2:5", "text": "Fine."},
            {"speaker": "Ann", "dia_id": "D2:6", "text": "Bye"},
        ],
    },
    "qa": [
        {"question": "Pet?", "answer": "A grey dog", "evidence": ["D1:1; D1:3"]},
        {"question": "How many lamps?", "answer": 3, "evidence": ["D2:2"]},
        {"question": "Asked of the last answer", "answer": "Fine", "evidence": ["D2:5"]},
        {"question": "No answer", "adversarial_answer": "x", "evidence": ["D1:1"]},
        {"question": "No evidence", "answer": "x", "evidence": []},
    ],
}


class Words(BaseChatModel):
    """Says what it was told to; a token is a word; of a prompt, only what no earlier one began with is evaluated."""

    says: str = "Ann has a dog."
    seen: Any = None

    @property
    def _llm_type(self) -> str:
        return "words"

    def get_num_tokens_from_messages(self, messages: Any, tools: Any = None) -> int:
        return sum(len(message.text.split()) for message in messages)

    def _generate(self, messages: list[BaseMessage], *_: Any, **asked: Any) -> ChatResult:
        prompt = [word for message in messages for word in message.text.split()]
        known = max((_common(prompt, old) for old in self.seen), default=0)
        self.seen.append(prompt)
        answer = self.says.split()[: asked.get("max_tokens")]
        usage = {"input_tokens": len(prompt), "output_tokens": len(answer), "total_tokens": len(prompt) + len(answer)}
        figures = {"evaluated_tokens": len(prompt) - known}
        message = AIMessage(" ".join(answer), usage_metadata=usage, response_metadata=figures)
        return ChatResult(generations=[ChatGeneration(message=message)])


def _common(one: list[str], other: list[str]) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@pytest.fixture(scope="module")
def memory() -> Iterator[ModuleType]:
    """The benchmark; its parts are modules beside it."""
    path = [str(BENCHMARKS), *sys.path]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", path)
        yield load_benchmark("memory")


@pytest.fixture(scope="module")
def parts(memory: ModuleType) -> Namespace:
    from memory_parts import book, figure, locomo, strategies, thousand

    return Namespace(book=book, figure=figure, locomo=locomo, strategies=strategies, thousand=thousand)


@pytest.fixture
def talk(parts: Namespace, tmp_path: Path) -> Any:
    (tmp_path / "locomo-1.json").write_text(json.dumps([LOCOMO]))
    return parts.locomo.load(tmp_path / "locomo-1.json")


def opened(parts: Namespace, **options: Any) -> tuple[Words, Any]:
    meter = parts.strategies.Meter()
    return Words(seen=[], callbacks=[meter], **options), meter


def setting(parts: Namespace, model: Words, budget: int = 400) -> Any:
    return parts.strategies.Setting(model, budget=budget, summary_tokens=20, window=1, readable=budget)


def replay(parts: Namespace, name: str, talk: Any, setting: Any, meter: Any) -> list[Any]:
    strategy = parts.strategies.STRATEGIES[name](setting)
    return list(parts.locomo.replay(strategy, talk, setting, meter))


# ---- the data --------------------------------------------------------------------------------------------------------


def test_neighbours_of_one_speaker_are_one_message_and_sessions_begin_with_their_date(talk: Any) -> None:
    assert [(turn.human, turn.ai) for turn in talk.turns] == [
        ("[7 May] I have a dog.", "Nice!"),
        ("Look. (shares a grey dog)", "So sweet.\n[9 June] I moved to Rome."),
        ("I bought 3 lamps.", "Which ones?"),
        ("Red ones.", "Fine."),
    ]


def test_a_question_counts_once_all_its_evidence_was_said_and_if_there_is_a_turn_after_it(talk: Any) -> None:
    pet, lamps = talk.questions
    assert pet.evidence == ("I have a dog.", "Look. (shares a grey dog)")
    assert (pet.since, pet.words) == (1, {"grey", "dog"})
    assert (lamps.since, lamps.words) == (2, {"3"})


def test_what_the_ai_said_belongs_to_the_turn_of_the_question_before(parts: Namespace, tmp_path: Path) -> None:
    rome = {"question": "Where does Bob live?", "answer": "Rome", "evidence": ["D2:1"]}
    (tmp_path / "locomo-1.json").write_text(json.dumps([LOCOMO | {"qa": [rome]}]))
    [question] = parts.locomo.load(tmp_path / "locomo-1.json").questions
    assert (question.since, question.evidence) == (1, ("I moved to Rome.",))


def test_fewer_turns_have_fewer_questions(parts: Namespace, talk: Any, tmp_path: Path) -> None:
    short = parts.locomo.load(tmp_path / "locomo-1.json", 3)
    assert list(short.turns) == talk.turns[:3]
    assert [question.since for question in short.questions] == [1]


def test_shares_are_means_over_the_turns_since_and_at_the_end(parts: Namespace, talk: Any) -> None:
    sent = ["", "", "I have a dog. Hello.", "I bought 3 lamps. A GREY dog (shares a grey dog)"]
    found = parts.locomo.reachable(talk, sent)
    assert found["evidence"] == pytest.approx((1 / 4 + 1) / 2)  # the pet: one of two, then none; the lamps: all
    assert found["evidence_end"] == pytest.approx((0 + 1) / 2)
    assert found["words"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["words_end"] == 1


def test_everything_can_be_reached_where_everything_is_sent(parts: Namespace, talk: Any) -> None:
    found = parts.locomo.reachable(talk, parts.locomo.everything(talk))
    assert found == {"evidence": 1, "evidence_end": 1, "words": 1, "words_end": 1}
    assert not any(parts.locomo.reachable(talk, [""] * 4).values())


# ---- the replay ------------------------------------------------------------------------------------------------------


def test_a_replay_counts_each_turns_tokens(parts: Namespace, talk: Any) -> None:
    model, meter = opened(parts)
    points = replay(parts, "ConversationBufferMemory", talk, setting(parts, model), meter)
    assert [point.sent for point in points] == [5 + 6, 11 + 1 + 5, 17 + 8 + 4, 29 + 2 + 2]
    assert [point.before for point in points] == [11, 6, 12, 4]  # only what is new
    assert {(point.after, point.written) for point in points} == {(0, 0)}
    assert points[-1].said.startswith("You are a helpful assistant.\n[7 May] I have a dog.\nNice!")
    found = parts.locomo.figures(talk, points)
    assert (found["evaluated"], found["sent"], found["evidence"]) == (33 / 4, 90 / 4, 1)


@pytest.mark.parametrize("name", ["SummaryMemory", "ConversationSummaryMemory"])
def test_summaries_are_counted_apart_and_their_words_count_as_sent(parts: Namespace, talk: Any, name: str) -> None:
    model, meter = opened(parts, says="A grey dog, 3 lamps.")
    points = replay(parts, name, talk, setting(parts, model), meter)
    ahead = int(name == "SummaryMemory")  # it reads the next prompt's beginning, and a token is written for that
    assert all(point.after > 0 and point.written == 5 + ahead for point in points)
    assert meter.evaluated == sum(point.before + point.after for point in points)
    found = parts.locomo.figures(talk, points)
    assert (found["evidence"], found["words"]) == (0, 1)


@pytest.mark.parametrize("name", ["SummarizationMiddleware", "SummaryBufferMemory", "ConversationSummaryBufferMemory"])
def test_what_no_longer_fits_is_summarised_when_the_strategy_says(parts: Namespace, name: str) -> None:
    turn = parts.locomo.Turn("I walked along the harbour and counted boats. " * 8, "Fine, thank you. " * 8)
    talk = parts.locomo.Talk([turn] * 12, [])
    model, meter = opened(parts)
    points = replay(parts, name, talk, setting(parts, model, budget=800), meter)
    assert any(point.written for point in points)
    assert "dog" in points[-1].said
    assert max(point.sent for point in points) < 12 * 96
    assert (name == "SummarizationMiddleware") is (not any(point.after for point in points))


def test_every_strategy_gets_the_same_first_prompt(parts: Namespace) -> None:
    for make in parts.strategies.STRATEGIES.values():
        strategy = make(setting(parts, opened(parts)[0]))
        sent = [message for message in strategy.prompt("Hello?") if message.text]
        assert [(type(m), m.text) for m in sent] == [
            (SystemMessage, "You are a helpful assistant."),
            (HumanMessage, "Hello?"),
        ]


def test_a_prompt_that_does_not_fit_is_counted_as_failed_and_reaches_nothing(parts: Namespace, talk: Any) -> None:
    model, meter = opened(parts)
    points = replay(parts, "ConversationBufferMemory", talk, setting(parts, model, budget=20), meter)
    found = parts.locomo.figures(talk, points)
    assert [bool(point.error) for point in points] == [False, False, True, True]
    assert (found["failed"], found["evidence"], found["sent"]) == (2, 0, 14)


# ---- the book --------------------------------------------------------------------------------------------------------


def play_book(parts: Namespace, speaker: Words) -> list[dict[str, Any]]:
    def open_strategy(name: str, small: int | None) -> tuple[Any, Words]:
        chosen = parts.strategies.Setting(speaker, budget=small or 400, summary_tokens=20, window=2, readable=400)
        return parts.strategies.STRATEGIES[name](chosen), speaker

    found: list[dict[str, Any]] = parts.book.play_all(open_strategy)
    return found


def test_the_book_s_outcomes_are_about_what_is_sent_and_what_is_said(parts: Namespace) -> None:
    model = opened(parts, says="You are 33, Maarten; it was 1 + 1.")[0]
    quiet = opened(parts, says="Hello.")[0]

    def play(speaker: Words) -> dict[tuple[str, str], tuple[bool, bool]]:
        rows = play_book(parts, speaker)
        return {(row["strategy"], row["asked"]): (row["reachable"], row["said"]) for row in rows}

    silent = play(quiet)
    for name in ("BufferMemory", "ConversationBufferMemory", "WindowMemory", "ConversationBufferWindowMemory"):
        assert silent[name, "name"] == (True, False)
    for name in ("WindowMemory", "ConversationBufferWindowMemory"):
        assert silent[name, "age"] == (False, False)
    for name in ("SummaryMemory", "ConversationSummaryMemory"):  # a summary without it has lost it
        assert silent[name, "name"] == silent[name, "first question"] == (False, False)
    assert set(play(model).values()) == {(True, True)}


def test_memories_that_summarise_late_get_so_little_room_that_the_book_s_three_turns_are(
    parts: Namespace, memory: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And if they are not, because answers are short, the output says so."""
    options = Namespace(path=Path("m.gguf"), n_ctx=2048, summary_tokens=256, threads=2)
    for says, never in (("Hello there. " * 30, ""), ("Hello.", ", ".join(sorted(parts.book.LATE)))):
        rows = play_book(parts, opened(parts, says=says)[0])
        last = {row["strategy"]: row for row in rows if row["kind"] == "summary, late"}
        assert {name for name, row in last.items() if row["whole"]} == set(filter(None, never.split(", ")))
        monkeypatch.setattr(parts.book, "play_all", lambda _, rows=rows: rows)
        memory.book(options, memory.Results(None))
        monkeypatch.undo()
        told = capsys.readouterr().out
        assert f"nothing was summarised by {never}\n" in told if never else "NOT SHOWN" not in told


def test_the_middleware_has_our_limits_as_far_as_it_can_read_what_it_summarises(parts: Namespace) -> None:
    def limits(budget: int, readable: int) -> tuple[int, int, int]:
        chosen = parts.strategies.Setting(opened(parts)[0], budget, 20, 1, readable)
        peer = parts.strategies.STRATEGIES["SummarizationMiddleware"](chosen)._middleware
        return peer.trigger[1], peer.keep[1], peer.trim_tokens_to_summarize

    assert limits(1000, 4000) == (850, 255, 2000)
    full, kept, most = limits(1792, 1792)
    assert full == 1792 * 85 // 100
    assert full + parts.strategies.QUESTION_TOKENS - kept <= most


# ---- a long conversation ---------------------------------------------------------------------------------------------


@given(st.floats(0.1, 3), st.floats(1e-3, 1e3))
def test_the_exponent_of_a_power_is_its_power(parts: Namespace, power: float, factor: float) -> None:
    exponent = parts.thousand.exponent
    turns = [100.0 * n for n in range(1, 11)]
    assert exponent(turns, [factor * n**power for n in turns]) == pytest.approx(power)


@pytest.mark.parametrize(("power", "rss", "missed"), [(1.0, 0.0, 0), (2.0, 0.0, 2), (1.0, 0.05, 1)])
def test_only_what_grows_faster_than_the_turns_is_missed(
    memory: ModuleType, parts: Namespace, power: float, rss: float, missed: int
) -> None:
    part = parts.thousand
    blocks = [
        part.Block(n, 0.01 * n**power, 0.0, 0.001, 0.001, 0.001, int(1000 * n**power), 100 + rss * n)
        for n in range(100, 1001, 100)
    ]
    growth = part.growth(blocks)
    assert growth["rss_per_1000"] == pytest.approx(1000 * rss)
    assert len(memory.goals_of_long(growth, part.LINEAR, part.LEVEL_MB)) == missed


def test_a_long_conversation_is_saved_and_measured_block_by_block(parts: Namespace, tmp_path: Path) -> None:
    blocks = parts.thousand.run(tmp_path, parts.thousand.Parrot(), 300, 20, 5)
    assert [block.turns for block in blocks] == [5, 10, 15, 20]
    assert all(block.answer > 0 and block.read > 0 and block.rss > 1 for block in blocks)
    assert blocks[-1].database > blocks[0].database > 4096


# ---- goals, results, picture -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("evaluated", "evidence", "missed"), [(50, 0.4, 0), (51, 0.4, 1), (50, 0.39, 1), (500, 0.0, 2)]
)
def test_the_goal_is_a_tenth_of_the_tokens_and_as_much_evidence(
    memory: ModuleType, capsys: pytest.CaptureFixture[str], evaluated: float, evidence: float, missed: int
) -> None:
    ours = {"evaluated": evaluated, "before": 10.0, "evidence": evidence}
    peer = {"evaluated": 500.0, "before": 200.0, "evidence": 0.4}
    rows = {"SummaryBufferMemory": ours, "ConversationSummaryMemory": peer}
    assert len(memory.goals_of_locomo(rows, new=49)) == missed
    assert "nobody" not in capsys.readouterr().out
    assert len(memory.goals_of_locomo(rows, new=51)) == missed
    assert "nobody" in capsys.readouterr().out
    assert memory.goals_of_locomo({"SummaryBufferMemory": ours}, new=49) == []


@pytest.mark.parametrize("turns", ["one", "1", "-3"])
def test_a_number_of_turns_that_cannot_be_is_refused(
    memory: ModuleType, capsys: pytest.CaptureFixture[str], turns: str
) -> None:
    with pytest.raises(SystemExit):
        memory.arguments_of().parse_args(["--turns", turns])
    assert "--turns" in capsys.readouterr().err
    assert memory.arguments_of().parse_args(["--turns", "all"]).turns == 0


def test_what_was_measured_is_not_measured_again(memory: ModuleType, tmp_path: Path) -> None:
    path, asked = tmp_path / "results.jsonl", list[int]()

    def measure() -> dict[str, int]:
        asked.append(1)
        return {"figure": len(asked)}

    for _ in range(2):
        results = memory.Results(path)
        assert results.of({"part": "a", "turns": 1}, measure) == {"figure": 1}
        assert results.get({"part": "a", "turns": 2}) is None
    assert memory.Results(path).of({"part": "a", "turns": 2}, measure) == {"figure": 2}


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1)), min_size=1, max_size=9))
def test_the_picture_is_well_formed_and_keeps_inside_its_frame(
    parts: Namespace, dots: list[tuple[float, float]]
) -> None:
    svg = parts.figure.svg
    root = ET.fromstring(svg([{"name": "a & b", "evaluated": t, "evidence": e} for t, e in dots]))  # noqa: S314
    width, height = (float(number) for number in root.attrib["viewBox"].split()[2:])
    for element in root.iter():
        assert all(0 <= float(element.get(name, 0)) <= width for name in ("x", "x1", "x2", "cx"))
        assert all(0 <= float(element.get(name, 0)) <= height for name in ("y", "y1", "y2", "cy"))
