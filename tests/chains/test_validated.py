"""A second look at answers: who judges, what a retry is told, what comes out when no try is left."""

import asyncio
import os
import sys
import threading
from typing import Any

import pytest
from answers import Answers, answers
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate

from phireside.chains import yes_no
from phireside.chains.cost import Cost
from phireside.chains.loop import begin
from phireside.chains.sequential import Link, sequential
from phireside.chains.validated import Attempt, Check, Rule, Validated, validated
from phireside.errors import EngineError, RequestError, SettingsError
from phireside.models import ChatGGUF
from phireside.settings import Settings

SHORT = Rule("at most three words", lambda text: len(text.split()) <= 3)
POLITE = "The answer is polite."


def talker(*said: str, judge: str = "yes") -> Answers:
    """A model that says these one after another, and judges each rule alike."""
    left = list(said)

    def rule(messages: list[BaseMessage]) -> str:
        return judge if "Rule for the answer" in messages[0].text else left.pop(0)

    return answers(rule)


# ---- judging and trying again ----


def test_an_answer_that_holds_the_rules_is_taken_at_once() -> None:
    model = talker("Good day, Sir")
    result = validated(model, [SHORT, POLITE]).invoke("Say hello.")
    assert result.text == "Good day, Sir"
    assert result.valid
    assert result.checks == (Check("at most three words", True), Check(POLITE, True))
    assert result.attempts == (Attempt("Good day, Sir", result.checks),)
    assert result.cost.calls == len(model.asked) == 2  # the function costs nothing


def test_a_broken_rule_is_told_and_the_answer_written_again() -> None:
    model = talker("Hello there my friend", "Hello")
    result = validated(model, [SHORT, POLITE]).invoke("Say {hello}.")
    assert (result.text, result.valid, len(result.attempts)) == ("Hello", True, 2)
    assert [attempt.valid for attempt in result.attempts] == [False, True]
    question, answer, complaint = model.asked[2]
    assert (question, answer) == (("human", "Say {hello}."), ("ai", "Hello there my friend"))
    assert "- at most three words" in complaint[1]
    assert POLITE not in complaint[1]
    assert result.cost.calls == 4


def test_the_model_judges_sentences_with_question_and_answer_before_it() -> None:
    model = talker("Hey", judge="no")
    result = validated(model, [POLITE], tries=1).invoke("Say hello.")
    assert result.checks == (Check(POLITE, False),)
    prompt = model.asked[1][0][1]
    assert prompt.index("Say hello.") < prompt.index("Hey") < prompt.index(POLITE)  # rules share all before them


def test_another_model_may_judge() -> None:
    writer, judge = answers("Hello"), talker(judge="yes")
    assert validated(writer, [POLITE], model=judge).invoke("x").valid
    assert (len(writer.asked), len(judge.asked)) == (1, 1)


def test_when_no_try_is_left_the_best_answer_is_marked() -> None:
    rules = [SHORT, Rule("no b", lambda text: "b" not in text), Rule("no c", lambda text: "c" not in text)]
    result = validated(talker("b c d e", "b c", "b c d e f"), rules).invoke("x")
    assert (result.text, result.valid, len(result.attempts)) == ("b c", False, 3)
    assert [check.held for check in result.checks] == [True, False, False]


def test_or_it_is_an_error_that_names_the_rules() -> None:
    with pytest.raises(EngineError, match=r"After 2 tries the answer still breaks 1 of 2 rules: at most three words"):
        validated(talker("a b c d", "a b c d"), [SHORT, POLITE], tries=2, otherwise="error").invoke("x")


def test_an_empty_answer_breaks_every_rule_and_no_model_judges_it() -> None:
    model = talker(" ", "Hello")
    result = validated(model, [POLITE]).invoke("x")
    assert result.attempts[0].checks == (Check(POLITE, False),)
    assert result.text == "Hello"
    assert len(model.asked) == 3


def test_a_function_may_use_a_chain_itself() -> None:
    inner = sequential([Link("word", "{text}")], model=answers("yes"))
    rule = Rule("the chain says yes", lambda text: inner.invoke(text)["word"] == "yes")
    assert validated(answers("x"), [rule]).invoke("y").valid


def test_more_functions_than_a_loop_has_threads_may_use_chains_that_need_them() -> None:
    """A model with only `_generate` runs in the loop's threads, as `ChatGGUF` does for a part of its work."""

    class Plain(Answers):
        async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kw: Any) -> Any:
            return await asyncio.to_thread(self._generate, messages, stop, **kw)

    inner = yes_no("So?", model=Plain(rule=lambda messages: "yes", asked=[], arguments=[], left=[]))
    count = (os.cpu_count() or 1) + 4
    at_once = threading.Barrier(count)

    def holds(text: str) -> bool:
        at_once.wait(60)
        return inner.invoke(text).answer

    chain = validated(answers("x"), [Rule(f"rule {number}", holds) for number in range(count)])
    assert begin(chain.ainvoke("y")).result(60).valid


def test_a_function_that_exits_is_an_error_and_chains_go_on() -> None:
    with pytest.raises(RequestError, match="'leave' failed: SystemExit 3"):
        validated(answers("x"), [Rule("leave", lambda text: sys.exit(3))]).invoke("y")
    assert validated(answers("x"), [SHORT]).invoke("y").valid


def test_a_model_with_bound_arguments_judges_and_writes_again_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phireside.chains.given.load_chat_model", lambda: pytest.fail("asked the settings' model"))
    model = talker("Hello there my friend", "Hello")
    chain = validated(model.bind(tone="mild"), [SHORT, POLITE])
    assert chain.invoke({"text": "Say hello."}).text == "Hello"
    assert set(chain.get_input_schema().model_fields) == {"text"}
    assert [each["tone"] for each in model.arguments] == ["mild"] * 4


# ---- over chains ----


async def test_the_answer_may_come_from_a_chain_with_its_own_input() -> None:
    model = talker("one two three four", "one")
    chain = sequential([Link("title", "Title of {topic}")], model=model).pick("title")
    looked = validated(chain, [SHORT], model=model)
    assert list(looked.get_input_schema().model_fields) == ["topic"]
    result = await looked.ainvoke({"topic": "tea"})
    assert (result.text, result.valid) == ("one", True)
    assert result.cost.calls == 2  # the chain's calls are counted too
    assert model.asked[1][0] == ("human", "tea")
    prompt = ChatPromptTemplate.from_messages([("human", "{a} {b}")])
    other = talker("x")
    assert validated(prompt | other, [SHORT], model=other).invoke({"a": "1", "b": "2"}).valid
    for given in ([HumanMessage("Hi")], {"text": "Hi"}, "Hi"):
        plain = talker("x")
        assert validated(plain, [SHORT]).invoke(given).valid
        assert plain.asked == [[("human", "Hi")]]
    with pytest.raises(RequestError, match="missing: text; unknown: txt"):
        validated(talker("x"), [SHORT]).invoke({"txt": "Hi"})


def test_a_chain_that_gives_no_text_is_refused_with_what_to_do() -> None:
    chain = sequential([Link("title", "{x}")], model=answers("a"))
    with pytest.raises(RequestError, match=r"pick\("):
        validated(chain, [SHORT], model=answers("a")).invoke("x")


# ---- streams ----


def test_a_stream_shows_each_answer_as_it_is_written_and_ends_with_the_result() -> None:
    model = talker("a b c d", "e f")
    shown = list(validated(model, [SHORT]).stream("x"))
    texts = list(dict.fromkeys(each.text for each in shown))
    assert texts == ["a", "a b", "a b c", "a b c d", "e", "e f"]
    assert shown[-1].valid
    assert not any(each.valid for each in shown[:-1])
    assert all(isinstance(each, Validated) for each in shown)
    assert shown[0] + shown[-1] == shown[-1]


async def test_who_leaves_the_stream_stops_the_model() -> None:
    model = answers("word " * 500, pause=0.005)
    stream: Any = validated(model, [SHORT]).astream("x")
    await anext(stream)
    await stream.aclose()
    assert model.left == [1]
    assert len(model.asked) == 1


# ---- what cannot work ----


@pytest.mark.parametrize(
    "options", [{"rules": []}, {"rules": [" "]}, {"rules": [Rule("")]}, {"tries": 0}, {"otherwise": "shrug"}]
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        validated(answers("x"), **{"rules": [SHORT], **options})
    assert caught.value.hint


@pytest.mark.parametrize("given", ["", " \n", {"text": ""}, []])
def test_an_empty_input_is_refused(given: Any) -> None:
    model = answers("x")
    with pytest.raises(RequestError, match="empty"):
        validated(model, [SHORT]).invoke(given)
    assert model.asked == []


def test_a_function_that_fails_is_named() -> None:
    with pytest.raises(RequestError, match=r"'is short' failed: ZeroDivisionError"):
        validated(answers("x"), [Rule("is short", lambda text: bool(1 / 0))]).invoke("x")


def test_a_judge_that_says_neither_is_an_error() -> None:
    with pytest.raises(EngineError, match="yes or no"):
        validated(talker("x", judge="maybe"), [POLITE]).invoke("x")


def test_prompts_are_overridden_by_one_argument() -> None:
    model = talker("x")
    own = {"judge": "Rule for the answer {answer} of {question}: {rule}?"}
    validated(model, [POLITE], prompts=own).invoke("y")
    assert model.asked[1][0] == ("human", f"Rule for the answer x of y: {POLITE}?")
    with pytest.raises(SettingsError, match="judge, revise"):
        validated(model, [POLITE], prompts={"jugde": "x"})


def test_a_result_costs_nothing_before_anything_was_asked() -> None:
    assert Validated().cost == Cost()
    assert not Validated().valid


@pytest.mark.real
def test_the_engine_judges_under_a_grammar_and_rules_share_their_prefix(settings: Settings, starter_path: Any) -> None:
    model = ChatGGUF(model="starter", settings=settings, temperature=0, max_tokens=24)
    result = validated(model, [POLITE, "It is in English.", SHORT], tries=2).invoke("Say hello.")
    assert 1 <= len(result.attempts) <= 2
    assert all(len(attempt.checks) == 3 for attempt in result.attempts)
    assert result.cost.calls >= 3
    assert result.cost.cached_tokens > result.cost.prompt_tokens / 4
