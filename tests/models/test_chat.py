"""`ChatGGUF` as a LangChain user meets it: lazy, shared, honest about its figures, cancelled when nobody listens."""

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from pydantic import ValidationError

from phireside.errors import (
    ContextOverflowError,
    EngineError,
    ModelNotFoundError,
    NotSupportedError,
    PhiresideError,
    RequestError,
    TemplateError,
)
from phireside.models import ChatGGUF, StopSignal
from phireside.models.messages import to_turns
from phireside.models.runtime import close_all, runtimes
from phireside.settings import EngineSettings, Settings

FOREVER = "Say something."  # the random models never end an answer by themselves


@pytest.fixture
def tiny(settings: Settings, tiny_chatml: Path) -> ChatGGUF:
    return ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=0, max_tokens=8)


@pytest.fixture
def endless(settings: Settings, tiny_chatml: Path) -> ChatGGUF:
    return ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=0, max_tokens=None)


@pytest.fixture
def starter(settings: Settings, starter_path: Path) -> ChatGGUF:
    return ChatGGUF(model="starter", settings=settings, temperature=0, max_tokens=24)


def stats(model: ChatGGUF) -> Any:
    return model._open(model.model).runtime.engine.stats()


def idle(model: ChatGGUF, seconds: float = 60) -> bool:
    """Whether the engine comes to rest."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = stats(model)
        if not (now.running or now.waiting):
            return True
        time.sleep(0.01)
    return False


# ---- lazy and light ----


def test_importing_the_room_imports_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "streamlit", "llama_cpp", "langchain_openai", "huggingface_hub", "sqlalchemy"]
    code = f"import sys, phireside.models; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_constructing_loads_nothing_even_of_a_model_that_is_not_there() -> None:
    code = (
        "import sys; from phireside.models import ChatGGUF; from phireside.models.runtime import runtimes\n"
        "[ChatGGUF(model=name) for name in ('starter', 'phi-3', 'auto', '/no/such.gguf', 'no-such-model')]\n"
        "print('llama_cpp' in sys.modules, len(runtimes()))"
    )
    run = subprocess.run([sys.executable, "-P", "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "0"]


@pytest.mark.real
def test_a_file_with_equal_settings_has_one_engine_and_with_others_another(
    settings: Settings, tiny_chatml: Path, tmp_path: Path
) -> None:
    close_all()
    link = tmp_path / "link.gguf"
    link.symlink_to(tiny_chatml)
    models = [
        ChatGGUF(model=str(tiny_chatml), settings=settings, max_tokens=2, temperature=0.5),
        ChatGGUF(model=str(link), settings=settings, max_tokens=2),
        ChatGGUF(model=str(tiny_chatml), settings=Settings(data_dir=settings.data_dir, model="x"), max_tokens=2),
    ]
    for model in models:
        model.invoke("Hi")
    assert len(runtimes()) == 1
    ChatGGUF(model=str(tiny_chatml), settings=settings, max_tokens=2, n_ctx=512).invoke("Hi")
    assert [runtime.engine.n_ctx for runtime in runtimes()] == [4096, 512]


@pytest.mark.real
def test_after_close_all_the_model_is_loaded_again(tiny: ChatGGUF) -> None:
    first = tiny.invoke("Hi").text
    close_all()
    assert runtimes() == []
    assert tiny.invoke("Hi").text == first


@pytest.mark.real
def test_a_file_that_was_replaced_gets_a_new_engine_and_the_old_one_is_closed(
    settings: Settings, tiny_chatml: Path, tiny_phi3: Path, tmp_path: Path
) -> None:
    import shutil

    from phireside.models import Catalog

    path = Path(shutil.copy(tiny_chatml, tmp_path / "mine.gguf"))
    model = ChatGGUF(model=str(path), settings=settings, max_tokens=2)
    model.invoke("Hi")
    old = model._open(model.model).runtime
    shutil.copy(tiny_phi3, tmp_path / "new.gguf").replace(path)
    with pytest.raises(PhiresideError, match=r"damaged|changed"):
        model.invoke("Hi")
    Catalog(settings).accept(str(path))
    assert model.get_num_tokens("<|user|>") > 1
    assert model.invoke("Hi").usage_metadata["output_tokens"] == 2
    assert old.engine.stats().state == "closed"
    assert old not in runtimes()


# ---- figures and reasons ----


@pytest.mark.real
def test_an_answer_reports_its_figures(starter: ChatGGUF) -> None:
    messages = [SystemMessage("Answer in one word."), HumanMessage("What is the capital of France?")]
    answer = starter.invoke(messages)
    assert "Paris" in answer.text
    usage, facts = answer.usage_metadata, answer.response_metadata
    assert usage["input_tokens"] == starter.get_num_tokens_from_messages(messages)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_token_details"]["cache_read"] == facts["cached_tokens"]
    assert facts["model_name"] == "starter"
    assert facts["finish_reason"] == "stop"
    assert facts["evaluated_tokens"] + facts["cached_tokens"] == usage["input_tokens"]
    assert facts["time_to_first_token"] > 0
    again = starter.invoke(messages)
    assert again.usage_metadata["input_token_details"]["cache_read"] == usage["input_tokens"] - 1


@pytest.mark.real
def test_a_stream_is_the_whole_answer_in_pieces_with_one_usage_at_its_end(starter: ChatGGUF) -> None:
    starter.invoke("Count from one to ten.")  # from here on the same tokens are evaluated in the same way
    whole = starter.invoke("Count from one to ten.")
    chunks = list(starter.stream("Count from one to ten."))
    assert len(chunks) > 5
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert [bool(chunk.usage_metadata) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].chunk_position == "last"
    added = chunks[0] + chunks[1:]
    assert isinstance(added, AIMessageChunk)
    assert added.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"]
    assert added.response_metadata["finish_reason"] == whole.response_metadata["finish_reason"]


@pytest.mark.real
def test_max_tokens_ends_an_answer_by_length_and_a_call_may_override_it(tiny: ChatGGUF) -> None:
    answer = tiny.invoke(FOREVER)
    assert (answer.usage_metadata["output_tokens"], answer.response_metadata["finish_reason"]) == (8, "length")
    assert tiny.invoke(FOREVER, max_tokens=3).usage_metadata["output_tokens"] == 3


@pytest.mark.real
def test_without_max_tokens_an_answer_may_fill_the_context(settings: Settings, tiny_chatml: Path) -> None:
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, n_ctx=128, max_tokens=None, temperature=0)
    usage = model.invoke(FOREVER).usage_metadata
    assert usage["total_tokens"] == 128
    assert model.invoke(FOREVER, max_tokens=2).usage_metadata["output_tokens"] == 2
    assert (
        ChatGGUF(model=str(tiny_chatml), settings=settings, n_ctx=128, max_tokens=2, temperature=0)
        .invoke(FOREVER, max_tokens=None)
        .usage_metadata["total_tokens"]
        == 128
    )


@pytest.mark.real
@pytest.mark.parametrize("stop", [["two"], "two"])
def test_stop_ends_before_the_string_from_constructor_bind_and_call(starter: ChatGGUF, stop: Any) -> None:
    question = "Repeat exactly: one two three"
    assert "two" in starter.invoke(question).text
    texts = [
        starter.invoke(question, stop=stop).text,
        starter.bind(stop=stop).invoke(question).text,
        "".join(chunk.text for chunk in starter.stream(question, stop=stop)),
    ]
    if isinstance(stop, list):
        texts.append(starter.model_copy(update={"stop": stop}).invoke(question).text)
    assert all("two" not in text for text in texts)
    assert len(set(texts)) == 1
    own = starter.model_copy(update={"stop": ["one"]})
    assert "one" in own.invoke(question, stop=["two"]).text  # a call's own replaces the constructor's


@pytest.mark.real
def test_a_seed_repeats_an_answer_and_another_one_does_not(tiny: ChatGGUF) -> None:
    hot = tiny.model_copy(update={"temperature": 2.0, "max_tokens": 16, "min_p": 0.0})
    hot.invoke(FOREVER)
    assert hot.invoke(FOREVER, seed=7).text == hot.invoke(FOREVER, seed=7).text
    assert len({hot.invoke(FOREVER, seed=seed).text for seed in range(5)}) > 1
    assert len({hot.invoke(FOREVER).text for _ in range(5)}) > 1


# ---- cancelling ----


@pytest.mark.real
def test_closing_a_stream_frees_the_engine(endless: ChatGGUF) -> None:
    stream = endless.stream(FOREVER)
    assert isinstance(stream, Iterator)
    for _ in range(3):
        next(stream)
    assert stats(endless).running == 1
    stream.close()  # type: ignore[attr-defined]
    assert idle(endless)


@pytest.mark.real
def test_dropping_a_stream_frees_the_engine(endless: ChatGGUF) -> None:
    stream = endless.stream(FOREVER)
    next(stream)
    del stream
    gc.collect()
    assert idle(endless)


@pytest.mark.real
async def test_cancelling_a_task_frees_the_engine(endless: ChatGGUF) -> None:
    async def read() -> None:
        async for _ in endless.astream(FOREVER):
            started.set()

    started = asyncio.Event()
    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(idle, endless)


@pytest.mark.real
async def test_a_stop_signal_ends_an_answer_in_order_with_its_figures(endless: ChatGGUF) -> None:
    signal, text, last = StopSignal(), "", None
    async for chunk in endless.astream(FOREVER, stop_signal=signal):
        text, last = text + chunk.text, chunk
        signal.set()
    assert last is not None
    assert last.response_metadata["finish_reason"] == "cancelled"
    assert text
    assert last.usage_metadata["output_tokens"] < 500
    early = list(endless.stream(FOREVER, stop_signal=signal))  # set already
    assert [chunk.text for chunk in early] == [""]


@pytest.mark.real
async def test_leaving_an_async_stream_frees_the_engine(endless: ChatGGUF) -> None:
    stream = endless.astream(FOREVER)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    assert await asyncio.to_thread(idle, endless)


@pytest.mark.real
async def test_cancelling_an_ainvoke_frees_the_engine(endless: ChatGGUF) -> None:
    task = asyncio.create_task(endless.ainvoke(FOREVER))
    while not stats(endless).running:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(idle, endless)


@pytest.mark.real
def test_a_loop_that_is_gone_frees_the_engine(endless: ChatGGUF) -> None:
    loop = asyncio.new_event_loop()
    stream = endless._astream([HumanMessage(FOREVER)])
    loop.run_until_complete(anext(stream))  # type: ignore[arg-type]
    loop.close()  # without closing the stream: its sink has no loop to call any more
    assert idle(endless)
    del stream
    gc.collect()


@pytest.mark.real
async def test_the_loop_goes_on_while_the_engine_works(endless: ChatGGUF) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await endless.ainvoke(FOREVER, max_tokens=200)
    ticking.cancel()
    assert ticks > 10


@pytest.mark.real
def test_a_timeout_is_an_error_with_the_seconds_and_frees_the_engine(endless: ChatGGUF) -> None:
    endless.invoke("Hi", max_tokens=1)  # loaded
    hasty = endless.model_copy(update={"timeout": 0.05})
    with pytest.raises(EngineError, match=r"longer than 0\.05 s"):
        hasty.invoke(FOREVER)
    with pytest.raises(EngineError, match=r"longer than 0\.05 s"):
        asyncio.run(hasty.ainvoke(FOREVER))
    assert idle(endless)


# ---- Phi-3 ----


@pytest.mark.real
def test_one_layer_of_phi_3_walks_the_same_path_with_phi_3s_template(settings: Settings, tiny_phi3: Path) -> None:
    model = ChatGGUF(model=str(tiny_phi3), settings=settings, temperature=0, max_tokens=6)
    opened = model._open(model.model)
    messages = [SystemMessage("Be kind."), HumanMessage("Create a funny joke about chickens.")]
    prompt = opened.encoder.render(to_turns(messages))
    tokens, vocabulary = opened.encoder.encode(prompt), opened.runtime.engine.vocabulary
    assert prompt == "<s><|user|>\nBe kind.\n\nCreate a funny joke about chickens.<|end|>\n<|assistant|>\n"
    assert [t for t in tokens if vocabulary.is_control(t)] == [1, 32010, 32007, 32001]
    answer = model.invoke(messages)
    assert answer.usage_metadata["input_tokens"] == len(tokens)
    follow_up = [*messages, AIMessage(answer.text), HumanMessage("Another.")]
    assert model.invoke(follow_up).usage_metadata["input_token_details"]["cache_read"] >= len(tokens) + 5


# ---- bad input ----


@pytest.mark.real
def test_a_prompt_that_does_not_fit_is_refused_with_the_numbers(settings: Settings, tiny_chatml: Path) -> None:
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, n_ctx=64, max_tokens=32)
    long = "word " * 100
    count = model.get_num_tokens_from_messages([HumanMessage(long)])
    with pytest.raises(ContextOverflowError) as caught:
        model.invoke(long)
    assert all(str(number) in caught.value.message for number in (count, 32, count + 32, 64))
    with pytest.raises(ContextOverflowError):
        asyncio.run(model.ainvoke(long))


@pytest.mark.real
def test_an_unknown_argument_of_a_call_is_named(tiny: ChatGGUF) -> None:
    with pytest.raises(RequestError, match="the argument temprature") as caught:
        tiny.invoke("Hi", temprature=1)
    assert "temperature" in caught.value.hint


@pytest.mark.real
@pytest.mark.parametrize(
    ("argument", "value"),
    [("temperature", -1), ("top_p", 2), ("top_k", -1), ("seed", -1), ("max_tokens", 0), ("min_p", float("nan"))],
)
def test_an_impossible_argument_of_a_call_is_named_with_its_value(tiny: ChatGGUF, argument: str, value: Any) -> None:
    with pytest.raises(RequestError, match=f"{argument} is {value}"):
        tiny.invoke("Hi", **{argument: value})


@pytest.mark.parametrize(
    ("argument", "value"), [("temperature", -1), ("top_p", 2), ("temprature", 1), ("priority", "king")]
)
def test_an_impossible_argument_of_the_constructor_is_refused(argument: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=argument):
        ChatGGUF(**{argument: value})


def test_an_unknown_model_is_an_error_with_a_hint_at_the_first_call(settings: Settings) -> None:
    model = ChatGGUF(model="startre", settings=settings)
    with pytest.raises(ModelNotFoundError) as caught:
        model.invoke("Hi")
    assert "starter" in caught.value.hint
    with pytest.raises(ModelNotFoundError):
        model.get_num_tokens("Hi")


@pytest.mark.real
def test_an_image_is_refused_by_its_kind(tiny: ChatGGUF) -> None:
    block = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(NotSupportedError, match="image_url"):
        tiny.invoke([HumanMessage([{"type": "text", "text": "What is this?"}, block])])


@pytest.mark.real
def test_a_bad_template_of_the_callers_is_refused_and_the_models_own_still_works(tiny: ChatGGUF) -> None:
    with pytest.raises(TemplateError):
        tiny.model_copy(update={"chat_template": "{{ nothing }}"}).invoke("Hi")
    assert tiny.invoke("Hi").text


@pytest.mark.real
def test_no_messages_are_refused(tiny: ChatGGUF) -> None:
    with pytest.raises(RequestError, match="no messages"):
        tiny.invoke([])


def test_the_profile_tells_the_context(settings: Settings, tiny_chatml: Path) -> None:
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, n_ctx=300)
    assert model.profile
    assert model.profile["max_input_tokens"] == 300
    engine = EngineSettings(n_ctx=200)
    other = ChatGGUF(model=str(tiny_chatml), settings=Settings(data_dir=settings.data_dir, engine=engine))
    assert other.profile
    assert other.profile["max_input_tokens"] == 200
