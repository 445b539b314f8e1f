"""Row 5: more text than the context holds. Refused with the numbers, or cut at whole turns, and the person is told.

The bound: tokens of the prompt + max_tokens never exceed n_ctx.
"""

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
from engine_tools import ask, is_idle
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from phireside.chains.chat import Chat
from phireside.errors import ContextOverflowError, GrammarError
from phireside.memory import BufferMemory, ConversationStore
from phireside.models import ChatGGUF, Engine
from phireside.models.engine import Completion, Request, Sampling
from phireside.models.grammar import Grammar
from phireside.models.runtime import close_all
from phireside.settings import EngineSettings, Settings

pytestmark = pytest.mark.real

N_CTX, ANSWER = 256, 12
SYSTEM = SystemMessage("You are brief.")


@pytest.fixture
def model(tiny_chatml: Path, settings: Settings) -> Iterator[ChatGGUF]:
    yield ChatGGUF(model=str(tiny_chatml), settings=settings, n_ctx=N_CTX, temperature=0, max_tokens=ANSWER)
    close_all()


def test_prompts_around_the_size_of_the_context_fit_or_are_refused_with_the_numbers(
    tiny_phi3: Path, figure: Callable[[int, str], None]
) -> None:
    cases = [(n, limit) for n in (N_CTX - 2, N_CTX - 1, N_CTX, N_CTX + 1, 4 * N_CTX) for limit in (None, 1, 2, 3)]
    violations = refused = 0
    with Engine(tiny_phi3, EngineSettings(n_ctx=N_CTX)) as engine:
        for number, (length, limit) in enumerate(cases):
            prompt = [300 + number] * length
            if length + (limit or 1) <= N_CTX:
                _, ended = ask(engine, prompt, max_tokens=limit)
                assert ended.usage.generated_tokens == (limit or N_CTX - length)
                violations += length + ended.usage.generated_tokens > N_CTX
            else:
                before = engine.stats()
                with pytest.raises(ContextOverflowError, match=rf"\b{length} tokens.*\b{N_CTX}\b") as caught:
                    ask(engine, prompt, max_tokens=limit)
                assert caught.value.hint
                assert engine.stats() == before  # no work was begun
                refused += 1
    figure(5, f"prompts of n_ctx-2 … 4 x n_ctx: {violations} violations in {len(cases)} cases, {refused} refused")
    assert violations == 0
    assert refused == 15


@pytest.mark.parametrize("count", [80, pytest.param(300, marks=pytest.mark.slow)])
def test_a_long_chat_goes_on_and_the_oldest_turns_are_left_out(
    model: ChatGGUF, figure: Callable[[int, str], None], count: int
) -> None:
    memory, history = BufferMemory(), [SYSTEM]
    most = left_out = 0
    for number in range(count):
        history.append(HumanMessage(f"This is question {number}." + " More of it." * (number % 5)))
        sent = memory.select(history, N_CTX - ANSWER, model.get_num_tokens_from_messages)
        answer = model.invoke(sent.messages)
        assert isinstance(answer, AIMessage)
        assert answer.usage_metadata
        assert answer.usage_metadata["input_tokens"] == sent.tokens  # counted exactly
        assert (sent.messages[0], sent.messages[-1]) == (SYSTEM, history[-1])
        assert sent.left_out == len(history) - len(sent.messages)
        assert sent.messages[1:] == history[1 + sent.left_out :]  # the newest ones, whole
        assert sent.left_out >= left_out
        most, left_out = max(most, sent.tokens + ANSWER), sent.left_out
        history.append(answer)
    figure(5, f"{count} turns: 0 errors; at most {most} of {N_CTX} tokens; {left_out} messages left out at the end")
    assert most <= N_CTX
    assert left_out > count


def test_the_person_is_told_how_many_messages_were_left_out(model: ChatGGUF, tmp_path: Path) -> None:
    store = ConversationStore(f"sqlite:///{tmp_path / 'chat.db'}")
    chat = Chat(store)
    conversation = store.create("long").id
    left_out = []
    for number in range(12):
        turn = chat.send(
            conversation, f"This is question {number}. " + "More of it. " * 8, model=model, system="Brief."
        )
        while not turn.wait(60):
            pass
        assert (turn.state, turn.error) == ("done", None)
        left_out.append(turn.left_out)
    chat.close()
    assert len(store.messages(conversation)) == 24  # nothing is lost in the store
    store.close()
    assert left_out[0] == 0
    assert left_out == sorted(left_out)
    assert left_out[-1] > 10


def test_one_message_of_a_megabyte_is_refused_with_the_numbers_and_harms_nobody(
    model: ChatGGUF, figure: Callable[[int, str], None]
) -> None:
    for _ in range(2):  # from the second on the same tokens are evaluated in the same way
        before = model.invoke([SYSTEM, HumanMessage("Name a colour.")]).text
    flood = HumanMessage("flood " * (1_000_000 // 6))
    tokens = model.get_num_tokens_from_messages([SYSTEM, flood])
    with pytest.raises(ContextOverflowError, match=str(tokens)):
        BufferMemory().select([SYSTEM, flood], N_CTX - ANSWER, model.get_num_tokens_from_messages)
    with pytest.raises(ContextOverflowError, match=f"{tokens} tokens.*{N_CTX}"):
        model.invoke([SYSTEM, flood])
    assert is_idle(engine_of(model))
    assert model.invoke([SYSTEM, HumanMessage("Name a colour.")]).text == before
    # In the middle of a conversation, it is left out with the turns before it.
    late = [SYSTEM, flood, AIMessage("Too much."), HumanMessage("Name a colour.")]
    sent = BufferMemory().select(late, N_CTX - ANSWER, model.get_num_tokens_from_messages)
    assert sent.messages == [SYSTEM, late[-1]]
    figure(5, f"one message of 1 MB ({tokens} tokens): refused with the numbers; in the history it is left out")


texts = st.text(min_size=1, max_size=30) | st.builds(
    lambda word, n: f"{word} " * n, st.just("word"), st.integers(1, 80)
)
turns = st.lists(st.tuples(texts, texts), max_size=8)


@given(system=st.none() | texts, history=turns, question=texts, answer=st.integers(1, 40))
@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_messages_the_bound_holds_and_system_and_question_survive(
    model: ChatGGUF, system: str | None, history: list[tuple[str, str]], question: str, answer: int
) -> None:
    messages: list[BaseMessage] = [] if system is None else [SystemMessage(system)]
    for asked, answered in history:
        messages += [HumanMessage(asked), AIMessage(answered)]
    messages.append(HumanMessage(question))
    try:
        sent = BufferMemory().select(messages, N_CTX - answer, model.get_num_tokens_from_messages)
    except ContextOverflowError:
        needed = [message for message in messages if isinstance(message, SystemMessage)] + messages[-1:]
        assert model.get_num_tokens_from_messages(needed) + answer > N_CTX  # it could not be helped
        return
    assert sent.tokens + answer <= N_CTX
    assert sent.messages[-1] is messages[-1]
    assert system is None or sent.messages[0] is messages[0]
    assert sent.left_out == len(messages) - len(sent.messages)
    reply = model.invoke(sent.messages, max_tokens=answer)
    assert isinstance(reply, AIMessage)
    assert reply.usage_metadata
    assert reply.usage_metadata["input_tokens"] == sent.tokens
    assert reply.usage_metadata["total_tokens"] <= N_CTX


def engine_of(model: ChatGGUF) -> Engine:
    return model._open(model.model).runtime.engine


def test_grammars_forks_and_scores_keep_the_bound_or_are_refused_before_any_work(
    tiny_phi3: Path, figure: Callable[[int, str], None]
) -> None:
    grammar = Grammar.json({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]})
    violations = refused = cases = 0
    with Engine(tiny_phi3, EngineSettings(n_ctx=N_CTX)) as engine:
        for room, limit in product((0, 12, 19, 40), (None, 20)):
            request = Request((300 + room,) * (N_CTX - room), Sampling(temperature=0), limit, grammar=grammar)
            attempts = [
                lambda request=request: [engine.complete(request)],
                lambda request=request: engine.fork(request, 3),
                lambda request=request: engine.score(request.tokens, [(5,), (5,) * 12]),
            ]
            for attempt in attempts:
                cases += 1
                before = engine.stats()
                try:
                    outcome = attempt()
                except (ContextOverflowError, GrammarError) as error:
                    outcome, refusal = [], error.message
                    assert engine.stats() == before
                    refused += 1
                else:
                    refusal = str(N_CTX)
                assert any(str(number) in refusal for number in (room, limit, N_CTX))
                for answer in (each for each in outcome if isinstance(each, Completion)):
                    assert json.loads("".join(answer)).keys() == {"a"}  # closed in time, however little room there was
                    assert answer.usage
                    violations += answer.usage.generated_tokens > min(room, limit or room)
        with pytest.raises(GrammarError, match="8 tokens, but only 3 are left"):
            engine.complete(Request((300,), max_tokens=3, grammar=grammar))
    figure(5, f"grammars, forks, scores: {violations} violations in {cases} cases, {refused} refused")
    assert violations == 0
    assert 0 < refused < cases
