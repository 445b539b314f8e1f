"""The engine in llama.cpp, on a random model: reuse, determinism, cancel, overflow, loading and closing."""

import gc
import os
import shutil
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from engine_tools import GREEDY, NEAR, SMALL, Judge, ask, is_idle, wait_until

from phireside.errors import ContextOverflowError, EngineClosedError, ModelDamagedError, ModelLoadError
from phireside.models.engine import Ended, Engine, Event, Request, Sampling, Text
from phireside.models.engine.engine import GATHER_S
from phireside.models.engine.sampler import LOOK_BACK
from phireside.settings import EngineSettings

pytestmark = pytest.mark.real

PROMPT = tuple(range(300, 340))
DRAW = Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=7)


# ---- prefix reuse ----


def test_the_same_prompt_again_evaluates_one_token(engine: Engine) -> None:
    text, first = ask(engine, PROMPT)
    again, second = ask(engine, PROMPT)
    assert (first.usage.cached_tokens, first.usage.evaluated_tokens) == (0, 40)
    assert (second.usage.cached_tokens, second.usage.evaluated_tokens) == (39, 1)
    assert again == text


def test_a_conversation_that_goes_on_evaluates_only_what_is_new(engine: Engine) -> None:
    history = list(PROMPT)
    for turn in range(5):
        new = [400 + turn] * 7
        _, ended = ask(engine, [*history, *new], max_tokens=10)
        # The last token of an answer was never evaluated: nothing came after it.
        assert ended.usage.evaluated_tokens == (47 if turn == 0 else 8)
        history += [*new, *ended.tokens]


def test_a_prompt_starts_from_what_another_that_still_runs_has_in_the_cache(engine: Engine, judge: Judge) -> None:
    long = engine.complete(Request(PROMPT, GREEDY, max_tokens=400))
    pieces = list(islice(long, 3))
    _, shared = ask(engine, [*PROMPT[:30], 999], max_tokens=4)
    assert (shared.usage.cached_tokens, shared.usage.evaluated_tokens) == (30, 1)
    assert engine.stats().running == 1  # the other one was not disturbed
    text = "".join([*pieces, *long])
    assert long.ended
    assert text == judge.text(long.ended.tokens)
    assert judge.doubt(PROMPT, long.ended.tokens) < NEAR


def test_prompts_of_two_families_in_turn_evaluate_only_what_is_new(engine: Engine) -> None:
    families = ([11] * 30, [12] * 30)
    evaluated = [ask(engine, [*families[i % 2], 500 + i], max_tokens=2)[1].usage.evaluated_tokens for i in range(8)]
    assert evaluated == [31, 31, *[1] * 6]


# ---- determinism ----


def test_greedy_answers_are_what_llama_cpp_alone_finds_most_probable(engine: Engine, judge: Judge) -> None:
    text, ended = ask(engine, PROMPT, max_tokens=60)
    assert list(ended.tokens) == judge.greedy(PROMPT, 60)
    assert text == judge.text(ended.tokens)
    assert ask(engine, PROMPT, max_tokens=60)[0] == text


@pytest.mark.parametrize("temperature", [1e-45, 1e-38, 1e-30])
def test_a_temperature_next_to_zero_is_greedy(engine: Engine, temperature: float) -> None:
    assert ask(engine, PROMPT, sampling=Sampling(temperature=temperature))[0] == ask(engine, PROMPT)[0]


def test_a_seed_gives_its_answer_again_and_another_seed_another(engine: Engine) -> None:
    first, again = (ask(engine, PROMPT, sampling=DRAW)[0] for _ in range(2))
    other = ask(engine, PROMPT, sampling=Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=8))[0]
    assert first == again != other


def test_without_a_seed_answers_differ(engine: Engine) -> None:
    free = Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0)
    assert ask(engine, PROMPT, sampling=free)[0] != ask(engine, PROMPT, sampling=free)[0]


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}])
def test_each_filter_at_its_narrowest_leaves_the_most_probable_token(engine: Engine, narrow: dict[str, Any]) -> None:
    chosen = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 1, **narrow}
    assert ask(engine, PROMPT, sampling=Sampling(**chosen))[0] == ask(engine, PROMPT)[0]


def test_the_repetition_penalty_looks_at_prompt_and_answer(engine: Engine, judge: Judge) -> None:
    penalty = Sampling(temperature=0, repeat_penalty=100)
    likely = judge.greedy(PROMPT, 1)[0]
    _, ended = ask(engine, [likely, *PROMPT[1:]], max_tokens=40, sampling=penalty)
    assert likely not in ended.tokens
    window = [likely, *PROMPT[1:], *ended.tokens][-LOOK_BACK:]
    assert len(set(window)) == len(window)


# ---- stop strings, ends ----


def test_a_stop_string_that_spans_tokens_ends_the_answer_before_it(engine: Engine) -> None:
    text, ended = ask(engine, PROMPT, max_tokens=40)
    middle = len(text) // 2
    stop = text[middle - 4 : middle + 4]
    short, end = ask(engine, PROMPT, max_tokens=40, stop=(stop, "never there"))
    assert short == text[: text.index(stop)]
    assert end.usage.finish_reason == "stop"
    assert end.usage.generated_tokens < ended.usage.generated_tokens
    assert not end.exact


def test_an_answer_may_use_the_context_to_its_last_token(engine: Engine) -> None:
    for prompt, limit, generated in ((511, None, 1), (510, None, 2), (511, 1, 1), (500, 12, 12)):
        _, ended = ask(engine, [5] * prompt, max_tokens=limit)
        assert (ended.usage.finish_reason, ended.usage.generated_tokens) == ("length", generated)


@pytest.mark.parametrize(("prompt", "limit"), [(512, None), (512, 1), (511, 2), (400, 113), (5000, None)])
def test_what_cannot_fit_is_refused_before_any_work_with_the_numbers(
    engine: Engine, prompt: int, limit: int | None
) -> None:
    with pytest.raises(ContextOverflowError) as caught:
        ask(engine, [5] * prompt, max_tokens=limit)
    for number in (prompt, limit or 1, prompt + (limit or 1), 512):
        assert str(number) in caught.value.message
    assert engine.stats().state == "unloaded"  # nothing was loaded, let alone evaluated


# ---- cancel ----


def cancel_after(engine: Engine, pieces: int, prompt: tuple[int, ...] = PROMPT) -> tuple[str, Ended]:
    """Cancel from the engine's own thread, with that many pieces of text heard."""
    events: list[Event] = []
    ready, done = threading.Lock(), threading.Event()

    def sink(event: Event) -> None:
        events.append(event)
        if len(events) == pieces:
            with ready:  # `job` is known
                job.cancel()
        if not isinstance(event, Text):
            done.set()

    engine.load()
    ready.acquire()
    job = engine.submit(Request(prompt, GREEDY, max_tokens=200), sink)
    ready.release()
    assert done.wait(60)
    assert isinstance(events[-1], Ended)
    return "".join(event.text for event in events[:-1] if isinstance(event, Text)), events[-1]


def test_an_answer_that_is_cancelled_ends_at_once_and_keeps_its_text(engine: Engine) -> None:
    whole, _ = ask(engine, PROMPT, max_tokens=150)
    text, ended = cancel_after(engine, 5)
    assert ended.usage.finish_reason == "cancelled"
    assert whole.startswith(text)
    assert 5 <= ended.usage.generated_tokens <= 6  # a piece of text may need two tokens
    assert ask(engine, PROMPT, max_tokens=150)[0] == whole


def test_a_prompt_that_is_cancelled_while_it_is_read_leaves_a_cache_that_is_right(
    starter_path: Path,
) -> None:
    prompt = tuple(300 + i * 7 % 1000 for i in range(1500))
    with Engine(starter_path, EngineSettings(n_ctx=2048, n_threads=2, n_threads_batch=2)) as engine:
        engine.load()
        answer = engine.complete(Request(prompt, GREEDY, max_tokens=8))
        wait_until(lambda: engine.stats().cells_used > 0)
        answer.cancel()
        assert list(answer) == []
        assert answer.usage
        assert answer.usage.finish_reason == "cancelled"
        read = answer.usage.evaluated_tokens
        assert 0 < read < len(prompt)
        assert engine.stats().cells_used == read
        text, ended = ask(engine, prompt[:90], max_tokens=8)
        assert ended.usage.cached_tokens == 89
    judge = Judge(starter_path, longest=100)
    assert judge.doubt(prompt[:90], ended.tokens) < NEAR
    assert judge.text(ended.tokens) == text
    judge.close()


def test_an_answer_that_nobody_holds_any_more_is_cancelled(engine: Engine) -> None:
    answer = engine.complete(Request(PROMPT, GREEDY, max_tokens=470))
    reader = iter(answer)
    next(reader)
    del answer, reader
    gc.collect()
    wait_until(lambda: is_idle(engine))
    unread = engine.complete(Request((7, 8), GREEDY, max_tokens=500))
    del unread
    wait_until(lambda: is_idle(engine))
    assert engine.stats().cells_used < 40 + 470 + 2 + 500


def test_many_threads_may_ask_cancel_and_leave_at_once(engine: Engine, judge: Judge) -> None:
    wrong: list[object] = []

    def visitor(number: int) -> None:
        prompt = (*PROMPT[: 20 + number], 600 + number)
        for round_ in range(6):
            answer = engine.complete(Request(prompt, GREEDY, max_tokens=20))
            pieces = list(islice(answer, round_))
            if round_ % 3 == 1:
                answer.cancel()
            if round_ % 3 == 2:
                continue  # gone without a word
            text = "".join([*pieces, *answer])
            assert answer.ended
            tokens = answer.ended.tokens
            if text != judge.text(tokens) or list(tokens) != judge_greedy[number][: len(tokens)]:
                wrong.append((number, tokens))

    judge_greedy = [judge.greedy((*PROMPT[: 20 + n], 600 + n), 20) for n in range(8)]
    threads = [threading.Thread(target=visitor, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: is_idle(engine))
    assert all(judge.doubt((*PROMPT[: 20 + n], 600 + n), tokens) < NEAR for n, tokens in wrong)


# ---- a crowd ----


def test_answers_are_written_together_and_a_long_prompt_does_not_stop_them(engine: Engine) -> None:
    engine.load()
    order: list[str] = []
    writer_ends = threading.Event()

    def writer(event: Event) -> None:
        order.append("writer")
        if isinstance(event, Ended):
            writer_ends.set()

    engine.submit(Request(PROMPT, GREEDY, max_tokens=300), writer)
    wait_until(lambda: order)
    other = engine.complete(Request((9,) * 400, GREEDY, max_tokens=5))
    order.extend("reader" for _ in other)
    assert writer_ends.wait(60)
    first = order.index("reader")
    assert first > 2  # the writer went on while the other's prompt was read
    assert "writer" in order[first:]


@pytest.mark.parametrize("n_batch", [1, 3])
def test_a_batch_smaller_than_the_crowd_serves_it_in_turn(tiny_phi3: Path, judge: Judge, n_batch: int) -> None:
    settings = SMALL.model_copy(update={"n_batch": n_batch, "n_sequences": 8})  # aborted the whole process once
    with Engine(tiny_phi3, settings) as engine:
        prompts = [(*PROMPT[:10], 700 + n) for n in range(8)]
        answers = [engine.complete(Request(prompt, GREEDY, max_tokens=10)) for prompt in prompts]
        for prompt, answer in zip(prompts, answers, strict=True):
            text = "".join(answer)
            assert answer.ended
            assert text == judge.text(answer.ended.tokens)
            assert judge.doubt(prompt, answer.ended.tokens) < NEAR


def test_the_cells_are_never_exceeded_when_more_ask_than_fit(tiny_phi3: Path) -> None:
    settings = SMALL.model_copy(update={"cache_tokens": 600, "n_sequences": 8})
    with Engine(tiny_phi3, settings) as engine:
        answers = [engine.complete(Request((20 + n,) * 100, GREEDY, max_tokens=100)) for n in range(8)]
        most = 0
        for answer in answers:
            for _ in answer:
                stats = engine.stats()
                most = max(most, stats.running)
                assert stats.cells_used <= stats.cells == 600
        assert most == 3
        assert all(answer.usage and answer.usage.generated_tokens == 100 for answer in answers)


# ---- loading, unloading, closing ----


def test_an_idle_model_is_unloaded_and_the_next_question_loads_it(tiny_phi3: Path) -> None:
    with Engine(tiny_phi3, SMALL.model_copy(update={"idle_unload_s": 0.05})) as engine:
        assert engine.stats().state == "unloaded"
        text, _ = ask(engine, PROMPT)
        wait_until(lambda: engine.stats().state == "unloaded")
        assert engine.stats().cells_used == 0
        again, ended = ask(engine, PROMPT)
        assert (again, ended.usage.cached_tokens) == (text, 0)


def test_unloading_gives_memory_files_and_threads_back(tiny_phi3: Path) -> None:
    process = psutil.Process()
    gc.collect()  # what other tests left open

    def used() -> int:
        before = set(threading.enumerate())
        with Engine(tiny_phi3, SMALL) as engine:
            ask(engine, PROMPT)
        gc.collect()
        assert set(threading.enumerate()) <= before
        return process.num_fds() if hasattr(process, "num_fds") else 0

    first = used()
    for _ in range(3):
        assert used() <= first
    before = process.memory_info().rss
    for _ in range(6):
        used()
    assert process.memory_info().rss - before < 20e6  # six loads of a model of 9 MB


def test_closing_while_answers_are_written_ends_them_with_an_error(tiny_phi3: Path) -> None:
    engine = Engine(tiny_phi3, SMALL)
    running = engine.complete(Request(PROMPT, GREEDY, max_tokens=470))
    reader = iter(running)
    next(reader)
    waiting = [engine.complete(Request((9,) * n, GREEDY, max_tokens=None)) for n in range(1, 6)]
    engine.close()
    for answer in (reader, *waiting):
        with pytest.raises(EngineClosedError):
            list(answer)
    with pytest.raises(EngineClosedError):
        ask(engine, PROMPT)
    engine.close()


def test_closing_from_many_threads_while_many_ask_neither_hangs_nor_loses_a_request(tiny_phi3: Path) -> None:
    for round_ in range(5):
        engine = Engine(tiny_phi3, SMALL)
        ends: list[str] = []

        def visitor(engine: Engine = engine, ends: list[str] = ends) -> None:
            try:
                while True:
                    ask(engine, PROMPT, max_tokens=5)
            except EngineClosedError:
                ends.append("closed")

        threads = [threading.Thread(target=visitor) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.02 * round_)
        closers = [threading.Thread(target=engine.close) for _ in range(2)]
        for thread in closers:
            thread.start()
        for thread in (*threads, *closers):
            thread.join(60)
            assert not thread.is_alive()
        assert ends == ["closed"] * 4


def test_a_file_that_is_no_model_is_refused_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "page.gguf"
    path.write_bytes(b"<!DOCTYPE html>" * 100)
    with pytest.raises(ModelLoadError, match=r"page\.gguf"):
        Engine(path, SMALL)


def test_a_file_that_was_cut_short_is_refused_and_served_once_whole(tiny_phi3: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(tiny_phi3, tmp_path / "cut.gguf"))
    os.truncate(path, path.stat().st_size - 100_000)
    with pytest.raises(ModelLoadError, match=r"cut\.gguf: .*corrupted or incomplete"):
        Engine(path, SMALL)
    shutil.copy(tiny_phi3, path)
    with Engine(path, SMALL) as engine:
        ask(engine, PROMPT)


def test_a_cache_that_cannot_be_made_is_an_error_with_its_numbers(tiny_phi3: Path) -> None:
    with Engine(tiny_phi3, SMALL.model_copy(update={"type_v": "q8_0", "flash_attn": "off"})) as engine:
        for attempt in (engine.load, lambda: ask(engine, PROMPT)):
            with pytest.raises(ModelLoadError, match=r"context of 1536 tokens"):
                attempt()
        assert engine.stats().state == "unloaded"


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be replaced there")
def test_a_file_replaced_while_loaded_changes_no_answer_and_is_not_loaded_again(
    tiny_phi3: Path, tiny_chatml: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copy(tiny_phi3, tmp_path / "mine.gguf"))
    with Engine(path, SMALL.model_copy(update={"idle_unload_s": 0.3})) as engine:
        text, _ = ask(engine, PROMPT)
        Path(shutil.copy(tiny_chatml, tmp_path / "new")).replace(path)
        assert ask(engine, PROMPT)[0] == text
        wait_until(lambda: engine.stats().state == "unloaded")
        with pytest.raises(ModelDamagedError, match="changed on disk"):
            ask(engine, PROMPT)


@pytest.mark.parametrize("kv", ["f16", "q8_0", "q4_0"])
def test_every_kind_of_cache_reuses_prefixes_alike(tiny_phi3: Path, kv: str) -> None:
    with Engine(tiny_phi3, SMALL.model_copy(update={"type_k": kv, "type_v": kv, "flash_attn": "on"})) as engine:
        text, _ = ask(engine, PROMPT)
        again, ended = ask(engine, PROMPT)
        assert (again, ended.usage.evaluated_tokens) == (text, 1)


@pytest.mark.parametrize("n_ctx", [1, 2, 3, 100])
def test_a_tiny_context_works_or_refuses(tiny_phi3: Path, n_ctx: int, make_prompt: Callable[[int], list[int]]) -> None:
    with Engine(tiny_phi3, EngineSettings(n_ctx=n_ctx, n_threads=1)) as engine:
        if n_ctx > 1:
            assert ask(engine, make_prompt(n_ctx - 1), max_tokens=None)[1].usage.generated_tokens == 1
        with pytest.raises(ContextOverflowError):
            ask(engine, make_prompt(n_ctx), max_tokens=None)


@pytest.fixture
def make_prompt() -> Callable[[int], list[int]]:
    return lambda length: [300 + i % 50 for i in range(length)]


def test_nobody_waits_for_others_unless_they_came_together_lately(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    get = engine._inbox.get

    def watched(block: bool = True, timeout: float | None = None) -> Any:
        if block and timeout == GATHER_S:
            waited.append(timeout)
        return get(block, timeout)

    monkeypatch.setattr(engine, "_inbox", SimpleNamespace(get=watched, put=engine._inbox.put))

    def asked() -> int:
        wait_until(lambda: is_idle(engine))
        ask(engine, PROMPT, max_tokens=2)
        return len(waited)

    assert (asked(), asked()) == (0, 0)
    for answer in engine.fork(Request(PROMPT, GREEDY, max_tokens=4), 2):
        list(answer)
    assert (asked(), asked()) == (1, 1)
