"""What one request does to the others and to what is kept: nothing that they would notice."""

from pathlib import Path

import pytest
from engine_tools import GREEDY, SMALL, ask, is_idle, wait_until

from phireside.errors import GrammarError, RequestError
from phireside.models.engine import Engine, Priority, Request
from phireside.models.engine.sequences import SequencePool
from phireside.models.grammar import Grammar

PROMPT = tuple(range(300, 420))
TOO_COMPLEX = Grammar.json(
    {
        "type": "object",
        "properties": {"q": {"type": "string", "pattern": '^([^"]{1,300} ){0,300}$'}},
        "required": ["q"],
        "additionalProperties": False,
    }
)


class Cells:
    """A cache that can do everything."""

    def trim(self, _sequence: int, _length: int) -> bool:
        return True

    def copy(self, source: int, target: int, length: int) -> None:
        pass


def chat(pool: SequencePool, prompt: list[int], keep: str = "") -> int:
    """A chat that is answered and parked; the id of its sequence."""
    placed = pool.place(prompt, len(prompt) + 5, keep)
    assert placed
    sequence, length = placed
    sequence.extend([*prompt[length:], len(keep)])
    sequence.keep = keep
    pool.park(sequence)
    return sequence.id


def test_a_new_chat_with_a_common_system_prompt_takes_the_oldest_sequence_and_no_newer_one() -> None:
    pool = SequencePool(Cells(), 3, 10_000)
    system = [7] * 30
    first, second, third = (chat(pool, [*system, *[n] * 50]) for n in (1, 2, 3))
    assert chat(pool, [*system, *[1] * 60]) == first  # goes on, and is the newest now
    assert chat(pool, [*system, *[4] * 50]) == second
    held = {s.id: s.tokens[30:33] for s in pool.all}
    assert held == {first: [1, 1, 1], second: [4, 4, 4], third: [3, 3, 3]}


def test_another_answer_takes_the_place_of_the_first_one_of_its_own_chat() -> None:
    pool = SequencePool(Cells(), 4, 10_000)
    first, second = chat(pool, [7] * 50, "a"), chat(pool, [7] * 50, "b")
    assert len({first, second}) == 2
    assert [chat(pool, [7] * 50, name) for name in ("b", "a", "b")] == [second, first, second]


def test_a_chat_that_begins_like_another_leaves_the_rest_of_that_one_in_the_cache(tiny_phi3: Path) -> None:
    with Engine(tiny_phi3, SMALL) as engine:
        _, first = ask(engine, PROMPT, keep="a")
        talk = [*PROMPT, *first.tokens, *range(600, 680)]
        _, second = ask(engine, talk, keep="a")
        ask(engine, PROMPT, keep="b")
        _, third = ask(engine, [*talk, *second.tokens, 9], keep="a")
        assert third.usage.evaluated_tokens == 2


def test_background_work_leaves_a_sequence_for_a_person(tiny_phi3: Path) -> None:
    with Engine(tiny_phi3, SMALL.model_copy(update={"n_sequences": 2})) as engine:
        background = [
            engine.complete(Request((500 + n, 501), GREEDY, 200, priority=Priority.BACKGROUND)) for n in range(3)
        ]
        wait_until(lambda: engine.stats().running)
        _, ended = ask(engine, PROMPT, 3)
        assert ended.usage.generated_tokens == 3
        assert not any(answer.usage for answer in background)  # none has ended: nobody's end was waited for
        for answer in background:
            answer.cancel()
        wait_until(lambda: is_idle(engine))


def test_a_grammar_that_grows_too_complex_fails_its_own_request_only(engine: Engine) -> None:
    alone = ask(engine, PROMPT, 40)[0]
    answer = engine.complete(Request(PROMPT, GREEDY, 40))
    with pytest.raises(GrammarError, match="too complex"):
        "".join(engine.complete(Request(PROMPT[:50], GREEDY, 300, grammar=TOO_COMPLEX)))
    assert "".join(answer) == alone
    wait_until(lambda: is_idle(engine))


def test_rules_that_name_each_other_in_a_long_chain_end_in_an_answer_or_an_error(engine: Engine) -> None:
    chain = "start: a0\n" + "\n".join(f"a{n}: a{n + 1}" for n in range(10_000)) + '\na10000: "12"'
    assert ask(engine, PROMPT, grammar=Grammar.lark(chain))[0] == "12"
    defs = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(5000)} | {"a5000": {"type": "boolean"}}
    text, _ = ask(engine, PROMPT, grammar=Grammar.json({"$defs": defs, "$ref": "#/$defs/a0"}))
    assert text in ("true", "false")


@pytest.mark.parametrize(("room", "reason"), [(310, "stop"), (20, "length")])
def test_an_answer_that_was_closed_for_want_of_tokens_says_so(engine: Engine, room: int, reason: str) -> None:
    grammar = Grammar.regex("<[a-z]{5,300}>")
    text, ended = ask(engine, PROMPT, room, grammar=grammar)
    assert text.endswith(">")
    assert ended.usage.finish_reason == reason


def kept(folder: Path) -> int:
    return len(list(folder.glob("*.kv")))


def test_what_is_forgotten_while_it_is_answered_leaves_nothing_on_disk(tiny_phi3: Path, tmp_path: Path) -> None:
    with Engine(tiny_phi3, SMALL, tmp_path) as engine:
        answer = engine.complete(Request(PROMPT, GREEDY, 300, keep="secret"))
        wait_until(lambda: engine.stats().running)
        engine.forget("secret")
        answer.cancel()
        "".join(answer)
        ask(engine, PROMPT[::-1], 3, keep="other")
    assert kept(tmp_path) == 1  # the other's


def test_what_is_kept_is_saved_before_its_cells_are_taken(tiny_phi3: Path, tmp_path: Path) -> None:
    small = SMALL.model_copy(update={"cache_tokens": 512})
    with Engine(tiny_phi3, small, tmp_path) as engine:
        for number, name in enumerate(("first", "second", "third")):
            ask(engine, [600 + number, *PROMPT, *PROMPT, *PROMPT], 3, keep=name)
    assert kept(tmp_path) == 3


def test_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(RequestError, match="keep is 7"):
        Request(PROMPT, keep=7)  # type: ignore[arg-type]
