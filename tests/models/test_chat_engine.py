"""What `ChatGGUF` takes from the engine: grammars, several answers, scores, whole batches, kept state, the queue."""

import asyncio
import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest
from engine_tools import wait_until
from langchain_core.messages import HumanMessage, SystemMessage

from phireside.errors import EngineError, GrammarError, RequestError
from phireside.models import ChatGGUF, Grammar, StopSignal
from phireside.models.engine.scoring import Scoring
from phireside.settings import EngineSettings, Settings

FOREVER = "Say something."  # the random models never end an answer by themselves


@pytest.fixture
def tiny(settings: Settings, tiny_chatml: Path) -> ChatGGUF:
    return ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=1, min_p=0, max_tokens=8)


@pytest.fixture
def starter(settings: Settings, starter_path: Path) -> ChatGGUF:
    return ChatGGUF(model="starter", settings=settings, temperature=0, max_tokens=24)


def engine_of(model: ChatGGUF) -> Any:
    return model._open(model.model).runtime.engine


def with_engine(model: ChatGGUF, **engine: Any) -> ChatGGUF:
    settings = Settings(data_dir=model.settings.data_dir, engine=EngineSettings(**engine))
    return model.model_copy(update={"settings": settings})


# ---- grammars ----


@pytest.mark.real
async def test_an_answer_follows_its_grammar_however_it_is_asked_for(starter: ChatGGUF, tiny: ChatGGUF) -> None:
    sizes = Grammar.choice(["small", "large"])
    assert starter.invoke("Is an elephant small or large?", grammar=sizes).text == "large"
    assert starter.bind(grammar=sizes).invoke("Is an ant small or large?").text in {"small", "large"}
    assert "".join(c.text for c in tiny.stream(FOREVER, grammar=sizes)) in {"small", "large"}
    assert (await tiny.ainvoke(FOREVER, grammar=sizes)).text in {"small", "large"}
    years = [tiny.invoke(FOREVER, grammar=Grammar.regex("(19|20)[0-9]{2}"), seed=seed).text for seed in range(3)]
    assert all(len(year) == 4 and year.isdigit() for year in years)


@pytest.mark.real
def test_a_grammar_that_cannot_be_met_is_an_error_before_any_decoding(tiny: ChatGGUF) -> None:
    with pytest.raises(GrammarError, match="only 3 are left"):
        tiny.invoke(FOREVER, grammar=Grammar.choice(["a long text that takes many tokens"]), max_tokens=3)
    with pytest.raises(GrammarError, match="does not compile"):
        tiny.invoke(FOREVER, grammar=Grammar.lark("start: nothing"))


@pytest.mark.real
async def test_the_loop_goes_on_while_a_grammar_compiles_and_leaving_then_frees_the_engine(
    tiny: ChatGGUF, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, compiles, may_go = engine_of(tiny), threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        compiles.set()
        assert may_go.wait(60)
        return matcher(*arguments)

    matcher = Grammar.matcher
    monkeypatch.setattr(Grammar, "matcher", slow)
    endless = tiny.bind(grammar=Grammar.regex("(?s:.*)"), max_tokens=None)
    for leaves in (False, True):
        compiles.clear(), may_go.clear()
        task = asyncio.create_task(
            tiny.ainvoke("Hi", grammar=Grammar.regex("a")) if not leaves else endless.ainvoke("Hi")
        )
        await asyncio.to_thread(compiles.wait, 20)  # the test would stand still here, were it done in the loop
        if leaves:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        may_go.set()
        if not leaves:
            assert (await task).text == "a"
    await asyncio.to_thread(wait_until, lambda: not (engine.stats().running or engine.stats().waiting))


@pytest.mark.real
@pytest.mark.parametrize("grammar", ["text", {"type": "object"}, "", 5])
def test_a_grammar_that_is_none_is_refused_with_those_there_are(tiny: ChatGGUF, grammar: Any) -> None:
    with pytest.raises(RequestError, match=r"grammar is .*Use Grammar\.choice"):
        tiny.invoke("Hi", grammar=grammar)


@pytest.mark.real
def test_forced_tokens_are_reported_and_figures_of_zero_are_not(tiny: ChatGGUF) -> None:
    schema = {"type": "object", "properties": {"name": {"enum": ["Anna"]}}, "required": ["name"]}
    answer = tiny.invoke(FOREVER, grammar=Grammar.json(schema), max_tokens=40)
    assert json.loads(answer.text)["name"] == "Anna"
    assert answer.response_metadata["forced_tokens"] > 0
    assert answer.response_metadata["prefill_time"] > 0
    assert "drafted_tokens" not in answer.response_metadata


# ---- several answers ----


@pytest.mark.real
async def test_n_answers_come_from_one_prompt_and_are_those_of_their_seeds(tiny: ChatGGUF) -> None:
    messages = [HumanMessage("word " * 200)]
    result = tiny.generate([messages], n=4, seed=5)
    answers = [generation.message for generation in result.generations[0]]
    assert len(answers) == 4
    assert len({answer.text for answer in answers}) > 1
    evaluated = sum(answer.response_metadata["evaluated_tokens"] for answer in answers)
    assert evaluated <= answers[0].usage_metadata["input_tokens"] + 8
    assert all(answer.usage_metadata["output_tokens"] == 8 for answer in answers)
    later = await tiny.agenerate([messages], n=2, seed=5)
    assert len(later.generations[0]) == 2
    single = tiny.generate([messages], n=1, seed=5)
    assert len(single.generations[0]) == 1


@pytest.mark.real
def test_n_calls_of_a_tool_have_ids_of_their_own(tiny: ChatGGUF) -> None:
    function = {"name": "now", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": function}]
    result = tiny.generate([[HumanMessage("Hi")]], n=3, tools=tools, tool_choice="any", max_tokens=100)
    calls = [generation.message.tool_calls[0] for generation in result.generations[0]]
    assert [call["name"] for call in calls] == ["now"] * 3
    assert len({call["id"] for call in calls}) == 3


@pytest.mark.real
async def test_only_generate_gives_several_answers_and_n_must_be_a_number(tiny: ChatGGUF) -> None:
    message = r"n is 2, but .* Use generate\(\)"
    for ask in (tiny.invoke, tiny.bind(n=2).invoke, lambda text, **n: list(tiny.stream(text, **n))):
        with pytest.raises(RequestError, match=message):
            ask(FOREVER, n=2)
    for asked in (tiny.ainvoke(FOREVER, n=2), tiny.abatch([FOREVER], n=2)):
        with pytest.raises(RequestError, match=message):
            await asked
    with pytest.raises(RequestError, match=message):
        tiny.batch([FOREVER], n=2)
    assert tiny.invoke(FOREVER, n=1).text
    for n in (0, -1, "two"):
        with pytest.raises(RequestError, match="n is"):
            tiny.generate([[HumanMessage("Hi")]], n=n)


@pytest.mark.real
async def test_several_answers_end_by_signal_by_timeout_and_when_nobody_waits(tiny: ChatGGUF) -> None:
    endless = tiny.model_copy(update={"max_tokens": None})
    messages = [[HumanMessage(FOREVER)]]
    engine, signal = engine_of(endless), StopSignal()
    threading.Thread(target=lambda: (wait_until(lambda: engine.stats().running), signal.set())).start()
    ended = endless.generate(messages, n=2, stop_signal=signal)
    assert {g.message.response_metadata["finish_reason"] for g in ended.generations[0]} == {"cancelled"}
    with pytest.raises(EngineError, match="longer than"):
        endless.model_copy(update={"timeout": 0.05}).generate(messages, n=2)
    task = asyncio.create_task(endless.agenerate(messages, n=2))
    while not engine.stats().running:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until, lambda: not (engine.stats().running or engine.stats().waiting))


# ---- scores ----


@pytest.mark.real
async def test_scores_tell_the_likely_answer_and_are_log_probabilities(starter: ChatGGUF) -> None:
    messages = [SystemMessage("Answer in one word."), HumanMessage("What is the capital of France?")]
    options = ["Paris", "London", "banana"]
    scores = starter.score(messages, options)
    assert max(zip(scores, options, strict=True), key=lambda pair: pair[0].logprob)[1] == "Paris"
    assert all(score.logprob < 0 and score.tokens >= 1 for score in scores)
    assert sum(math.exp(score.logprob) for score in scores) <= 1
    later = await starter.ascore(messages, options)
    assert [score.tokens for score in later] == [score.tokens for score in scores]
    assert [score.logprob for score in later] == pytest.approx([score.logprob for score in scores], abs=0.5)
    assert starter.score("What is the capital of France?", ["Paris"])[0].tokens == scores[0].tokens


@pytest.mark.real
async def test_who_cancels_scores_frees_the_engine(tiny: ChatGGUF, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons: list[str] = []
    end = Scoring.end
    monkeypatch.setattr(Scoring, "end", lambda self, reason: (reasons.append(reason), end(self, reason))[1])
    engine = engine_of(tiny)
    task = asyncio.create_task(tiny.ascore("Which?", ["many words of an answer " * 10] * 2000))
    await asyncio.to_thread(wait_until, lambda: engine.stats().running == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until, lambda: engine.stats().running == 0)
    assert reasons == ["cancelled"]
    assert len(await tiny.ascore("Which?", ["this", "that"])) == 2


@pytest.mark.real
def test_scores_can_be_stopped_from_outside(tiny: ChatGGUF) -> None:
    signal = StopSignal()
    signal.set()
    with pytest.raises(EngineError, match="cancelled"):
        tiny.score("Which?", ["this", "that"], signal=signal)


@pytest.mark.real
def test_a_greedy_answer_scores_as_the_sum_of_its_parts(starter: ChatGGUF) -> None:
    """The score of a text is that of its first token plus that of the rest after it."""
    question = "Count from one to five."
    whole, first = starter.score(question, ["One, two", "One"])
    assert whole.logprob < first.logprob
    assert whole.tokens > first.tokens


@pytest.mark.real
def test_a_marker_in_a_scored_text_stays_text(starter: ChatGGUF) -> None:
    opened = starter._open("starter")
    prompt = opened.encoder.render([{"role": "user", "content": "Hi"}])
    tokens = opened.encoder.continuation(prompt, "<|im_end|>")
    assert len(tokens) > 1
    assert not any(opened.runtime.engine.vocabulary.is_control(token) for token in tokens)


@pytest.mark.real
@pytest.mark.parametrize(
    ("messages", "texts", "reason"),
    [
        ("Hi", "text", "score was given 'text'.*list of texts"),
        ("Hi", [1], r"score was given \[1\]"),
        ("Hi", 5, "score was given 5"),
        ("Hi", ["a", ""], "Text 2 of 2 is empty"),
        ([], ["a"], "no messages"),
    ],
)
async def test_what_cannot_be_scored_is_refused(tiny: ChatGGUF, messages: Any, texts: Any, reason: str) -> None:
    with pytest.raises(RequestError, match=reason):
        tiny.score(messages, texts)
    with pytest.raises(RequestError, match=reason):
        await tiny.ascore(messages, texts)


# ---- batches ----


@pytest.mark.real
async def test_a_batch_is_in_the_engine_at_once(tiny: ChatGGUF) -> None:
    longer = tiny.model_copy(update={"max_tokens": 300})
    engine, seen = engine_of(longer), 0
    task = asyncio.create_task(longer.abatch([FOREVER] * 8))
    while not task.done():
        seen = max(seen, engine.stats().running)
        await asyncio.sleep(0.002)
    assert len(await task) == 8
    assert seen > 5


@pytest.mark.real
async def test_more_inputs_than_may_wait_flow_through(tiny: ChatGGUF) -> None:
    narrow = with_engine(tiny, n_sequences=2, max_waiting=2, n_ctx=256)
    questions = [f"word {number}" for number in range(9)]
    assert len(narrow.batch(questions)) == 9
    assert len(await narrow.abatch(questions)) == 9
    assert len(narrow.batch(questions[:2], config=[{"tags": ["a"]}, {"tags": ["b"]}])) == 2
    assert len(narrow.batch(questions[:3], config={"max_concurrency": 1})) == 3
    assert narrow.batch([]) == []


# ---- kept state, the queue ----


@pytest.mark.real
def test_a_conversation_may_be_kept_under_a_name(tiny: ChatGGUF) -> None:
    answer = tiny.invoke("word " * 50, keep="conversation-1")
    assert answer.usage_metadata["output_tokens"] == 8
    with pytest.raises(RequestError, match="argument kept"):
        tiny.invoke("Hi", kept="x")
    with pytest.raises(RequestError, match="keep is 5"):
        tiny.invoke("Hi", keep=5)
    assert tiny.invoke("Hi", keep=None).text


@pytest.mark.real
@pytest.mark.parametrize("stop", [5, [5], {"a": 1}])
def test_what_is_no_stop_string_is_refused(tiny: ChatGGUF, stop: Any) -> None:
    with pytest.raises(RequestError, match=r"stop is .*list of strings"):
        tiny.invoke("Hi", stop=stop)


@pytest.mark.real
def test_a_waiting_answer_knows_how_many_are_ahead_of_it(tiny: ChatGGUF) -> None:
    narrow = with_engine(tiny, n_sequences=1, n_ctx=512).model_copy(update={"max_tokens": None})
    first, second = StopSignal(), StopSignal()
    assert second.ahead == 0
    threads = []
    for signal in (first, second):
        threads.append(threading.Thread(target=narrow.invoke, args=(FOREVER,), kwargs={"stop_signal": signal}))
        threads[-1].start()
        if signal is first:
            wait_until(lambda: engine_of(narrow).stats().running)
    wait_until(lambda: second.ahead)
    assert (first.ahead, second.ahead) == (0, 1)
    first.set()
    wait_until(lambda: second.ahead == 0)
    second.set()
    for thread in threads:
        thread.join()
