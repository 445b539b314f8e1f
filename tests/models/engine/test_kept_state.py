"""Conversations whose KV state is kept on disk: opened again they go on where they were, or are evaluated anew."""

import logging
import os
import shutil
from pathlib import Path

import pytest
from engine_tools import GREEDY, NEAR, SMALL, Judge, ask, is_idle, wait_until

from phireside.models.engine import Ended, Engine, Request
from phireside.models.engine import engine as module
from phireside.settings import EngineSettings

pytestmark = pytest.mark.real

TALK = tuple(300 + i * 7 % 500 for i in range(150))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "0123456789abcdef" / "kv"


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.kv"))


def told(model: Path, folder: Path | None, settings: EngineSettings = SMALL, keep: str = "a") -> tuple[str, Ended]:
    """One answer from an engine that is opened for it and closed again."""
    with Engine(model, settings, folder) as engine:
        return ask(engine, TALK, keep=keep)


def next_turn(model: Path, folder: Path | None, ended: Ended, settings: EngineSettings = SMALL) -> tuple[str, Ended]:
    """The conversation goes on in an engine of its own."""
    with Engine(model, settings, folder) as engine:
        return ask(engine, [*TALK, *ended.tokens, 9], keep="a")


# ---- restored ----


def test_a_conversation_opened_again_reads_only_what_is_new(tiny_phi3: Path, folder: Path, judge: Judge) -> None:
    _, first = told(tiny_phi3, folder)
    assert len(files(folder)) == 1
    text, second = next_turn(tiny_phi3, folder, first)
    assert second.usage.restored_tokens == second.usage.cached_tokens == len(TALK) + 15
    assert second.usage.evaluated_tokens == 2
    assert text == next_turn(tiny_phi3, None, first)[0]
    assert text == judge.text(second.tokens)
    assert judge.doubt([*TALK, *first.tokens, 9], second.tokens) < NEAR


def test_the_same_prompt_again_and_a_shorter_one_start_from_the_file(tiny_phi3: Path, folder: Path) -> None:
    text, _ = told(tiny_phi3, folder)
    again, ended = told(tiny_phi3, folder)
    assert (again, ended.usage.restored_tokens, ended.usage.evaluated_tokens) == (text, len(TALK) - 1, 1)
    with Engine(tiny_phi3, SMALL, folder) as engine:
        _, shorter = ask(engine, [*TALK[:100], 9])
        assert (shorter.usage.restored_tokens, shorter.usage.evaluated_tokens) == (100, 1)


def test_what_is_in_memory_is_not_read_from_disk(tiny_phi3: Path, folder: Path) -> None:
    told(tiny_phi3, folder)
    with Engine(tiny_phi3, SMALL, folder) as engine:
        restored = [ask(engine, [*TALK, 9 + n], keep="a")[1].usage.restored_tokens for n in range(3)]
    assert restored == [len(TALK), 0, 0]


def test_each_conversation_has_its_file_and_a_nameless_one_none(tiny_phi3: Path, folder: Path) -> None:
    with Engine(tiny_phi3, SMALL, folder) as engine:
        for name, head in (("a", 20), ("b", 21), ("", 22), ("a", 20)):
            ask(engine, [head] * 100, keep=name)
    assert len(files(folder)) == 2
    with Engine(tiny_phi3, SMALL, folder) as engine:
        restored = [ask(engine, [head] * 101)[1].usage.restored_tokens for head in (20, 21, 22)]
    assert [tokens > 0 for tokens in restored] == [True, True, False]


def test_a_nameless_request_that_takes_a_conversation_s_place_is_not_written_under_its_name(
    tiny_phi3: Path, folder: Path
) -> None:
    with Engine(tiny_phi3, SMALL.model_copy(update={"n_sequences": 1}), folder) as engine:
        ask(engine, [*[20] * 80, *[21] * 80], keep="a")
        ask(engine, [*[20] * 80, *[22] * 80])  # another chat behind the same instructions; it wants nothing kept
    with Engine(tiny_phi3, SMALL, folder) as engine:
        assert ask(engine, [*[20] * 80, *[22] * 81])[1].usage.restored_tokens <= 80


def test_a_conversation_is_written_before_another_takes_its_place(tiny_phi3: Path, folder: Path) -> None:
    with Engine(tiny_phi3, SMALL.model_copy(update={"n_sequences": 1}), folder) as engine:
        _, ended = ask(engine, TALK, keep="a")
        ask(engine, [*TALK[:80], *[22] * 80], keep="b")  # behind the same instructions
        _, after = ask(engine, [*TALK, *ended.tokens, 5], keep="a")
    assert after.usage.restored_tokens == len(TALK) + len(ended.tokens) - 1


@pytest.mark.parametrize("what", ["score", "sample", "title"])
def test_nameless_work_on_a_conversation_neither_loses_it_nor_gets_into_its_file(
    tiny_phi3: Path, folder: Path, what: str
) -> None:
    with Engine(tiny_phi3, SMALL, folder) as engine:
        _, ended = ask(engine, TALK, keep="a")
        talk = [*TALK, *ended.tokens]
        if what == "score":
            engine.score(TALK, [(700, 701), (702,)])
        else:
            ask(engine, TALK if what == "sample" else [*talk, 700, 701])
    with Engine(tiny_phi3, SMALL, folder) as engine:
        _, after = ask(engine, [*talk, 700, 701, 5])
    assert after.usage.restored_tokens == len(talk) - 1


def test_short_conversations_are_not_worth_a_file(tiny_phi3: Path, folder: Path) -> None:
    with Engine(tiny_phi3, SMALL, folder) as engine:
        ask(engine, [5] * 20, max_tokens=5, keep="a")
    assert files(folder) == []


def test_a_limit_of_no_bytes_keeps_nothing(tiny_phi3: Path, folder: Path) -> None:
    _, ended = told(tiny_phi3, folder, SMALL.model_copy(update={"kv_disk_bytes": 0}))
    assert not folder.exists()
    assert (
        next_turn(tiny_phi3, folder, ended, SMALL.model_copy(update={"kv_disk_bytes": 0}))[1].usage.cached_tokens == 0
    )


@pytest.mark.parametrize("kv", ["f16", "q8_0"])
def test_every_kind_of_cache_can_be_kept(tiny_phi3: Path, folder: Path, kv: str) -> None:
    settings = SMALL.model_copy(update={"type_k": kv, "type_v": kv, "flash_attn": "on"})
    _, first = told(tiny_phi3, folder, settings)
    text, second = next_turn(tiny_phi3, folder, first, settings)
    assert second.usage.evaluated_tokens == 2
    assert text


# ---- not trusted ----


@pytest.mark.parametrize("damage", ["cut", "bit in the state", "bit in the header", "empty", "gone"])
def test_a_damaged_file_is_told_and_left_aside_and_the_text_is_the_same(
    tiny_phi3: Path, folder: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    text, _ = told(tiny_phi3, folder)
    (path,) = files(folder)
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage in ("cut", "empty"):
        os.truncate(path, len(data) // 2 if damage == "cut" else 0)
    else:
        data[-1000 if damage == "bit in the state" else 100] ^= 4
        path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        again, ended = told(tiny_phi3, folder)
    assert (again, ended.usage.restored_tokens, ended.usage.evaluated_tokens) == (text, 0, len(TALK))
    assert (str(path) in caplog.text) == (damage != "gone")
    assert told(tiny_phi3, folder)[1].usage.restored_tokens > 0  # it was written anew


def test_a_state_of_other_settings_in_the_wrong_place_is_left_aside(
    tiny_phi3: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`StateFiles.folder_for` keeps them apart; here somebody did not."""
    other = SMALL.model_copy(update={"type_k": "q8_0"})
    told(tiny_phi3, folder, other)
    with caplog.at_level(logging.WARNING):
        text, ended = told(tiny_phi3, folder)
    assert "does not fit the model" in caplog.text
    assert (ended.usage.restored_tokens, ended.usage.evaluated_tokens) == (0, len(TALK))
    assert text == told(tiny_phi3, None)[0]


def test_a_file_of_another_folder_is_left_aside(tiny_phi3: Path, folder: Path, tmp_path: Path) -> None:
    told(tiny_phi3, folder)
    other = tmp_path / "fedcba9876543210" / "kv"
    shutil.copytree(folder, other)
    _, ended = told(tiny_phi3, other)
    assert (ended.usage.restored_tokens, ended.usage.evaluated_tokens) == (0, len(TALK))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nobody is refused there")
def test_a_folder_that_cannot_be_written_costs_no_answer(tiny_phi3: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    assert told(tiny_phi3, folder)[0] == told(tiny_phi3, None)[0]


def test_a_folder_that_is_a_file_costs_no_answer(
    tiny_phi3: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.parent.mkdir()
    folder.write_text("no folder")
    with caplog.at_level(logging.WARNING):
        assert told(tiny_phi3, folder)[0] == told(tiny_phi3, None)[0]
    assert str(folder) in caplog.text


# ---- forgotten ----


def test_what_is_forgotten_is_neither_on_disk_nor_in_memory(tiny_phi3: Path, folder: Path) -> None:
    told(tiny_phi3, folder)
    with Engine(tiny_phi3, SMALL, folder) as engine:
        ask(engine, [*TALK, 9], keep="a")
        ask(engine, [21] * 100, keep="b")
        engine.forget("a")
        assert files(folder) == []
        _, ended = ask(engine, [*TALK, 9])
        assert ended.usage.cached_tokens == 0
        assert ask(engine, [21] * 101)[1].usage.cached_tokens == 100  # the other one is there
    assert len(files(folder)) == 1


def test_forgetting_needs_no_model_in_memory_and_no_folder(tiny_phi3: Path, folder: Path) -> None:
    told(tiny_phi3, folder)
    with Engine(tiny_phi3, SMALL, folder) as engine:
        engine.forget("b")
        assert len(files(folder)) == 1
        engine.forget("a")
        assert files(folder) == []
        assert engine.stats().state == "unloaded"
    engine.forget("a")
    with Engine(tiny_phi3, SMALL) as engine:
        engine.forget("a")


def test_a_conversation_forgotten_just_before_closing_is_not_written(tiny_phi3: Path, folder: Path) -> None:
    with Engine(tiny_phi3, SMALL, folder) as engine:
        ask(engine, TALK, keep="a")
        engine.forget("a")
    assert files(folder) == []


# ---- room ----


def test_a_file_longer_than_the_prompt_is_used_where_it_has_room(tiny_phi3: Path, folder: Path) -> None:
    with Engine(tiny_phi3, SMALL, folder) as engine:
        text, _ = ask(engine, TALK, max_tokens=5)
        ask(engine, [*TALK, *[5] * 300], keep="a")
    small = SMALL.model_copy(update={"cache_tokens": 512})
    with Engine(tiny_phi3, small, folder) as engine:
        again, ended = ask(engine, TALK, max_tokens=5)
        assert (again, ended.usage.restored_tokens) == (text, len(TALK) - 1)
        assert engine.stats().cells_used == len(TALK) + 4
    with Engine(tiny_phi3, small, folder) as engine:  # all but 300 cells are somebody's
        writer = engine.complete(Request((9,) * 100, GREEDY, 112))
        next(iter(writer))
        again, ended = ask(engine, TALK, max_tokens=5)
        assert (again, ended.usage.restored_tokens, ended.usage.evaluated_tokens) == (text, 0, len(TALK))
        wait_until(lambda: is_idle(engine))
        assert "".join(writer)


def test_a_file_longer_than_the_whole_cache_is_left_aside(tiny_phi3: Path, folder: Path) -> None:
    with Engine(tiny_phi3, SMALL, folder) as engine:
        ask(engine, [*TALK, *[5] * 300], keep="a")
    with Engine(tiny_phi3, SMALL.model_copy(update={"n_ctx": 200, "cache_tokens": 200}), folder) as engine:
        text, ended = ask(engine, TALK, max_tokens=5)
    assert (ended.usage.restored_tokens, ended.usage.evaluated_tokens) == (0, len(TALK))
    with Engine(tiny_phi3, SMALL) as engine:
        assert ask(engine, TALK, max_tokens=5)[0] == text


def test_parked_conversations_make_room_and_a_cache_full_of_holes_takes_a_file(
    tiny_phi3: Path, folder: Path, judge: Judge
) -> None:
    _, first = told(tiny_phi3, folder)
    with Engine(tiny_phi3, SMALL.model_copy(update={"cache_tokens": 512, "n_sequences": 8}), folder) as engine:
        writers = [engine.complete(Request((20 + n,) * 30, GREEDY, 20 + 5 * n)) for n in range(6)]
        for writer in writers:
            "".join(writer)
        prompt = [*TALK, *first.tokens, 9]
        _, ended = ask(engine, prompt, keep="a")
        assert ended.usage.restored_tokens == len(TALK) + 15
        assert judge.doubt(prompt, ended.tokens) < NEAR
        stats = engine.stats()
        assert stats.cells_used <= stats.cells


# ---- when it is written ----


def test_it_is_written_after_a_while_of_silence_and_again_when_it_grew(
    tiny_phi3: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAVE_AFTER_S", 0.05)
    with Engine(tiny_phi3, SMALL, folder) as engine:
        _, ended = ask(engine, TALK, keep="a")
        wait_until(lambda: files(folder))
        (first,) = files(folder)
        ask(engine, [*TALK, *ended.tokens, *[5] * 100], keep="a")
        wait_until(lambda: files(folder) not in ([], [first]))
        wait_until(lambda: len(files(folder)) == 1)
        assert files(folder) != [first]
        assert engine.stats().state == "ready"


def test_it_is_written_before_an_idle_model_is_unloaded(tiny_phi3: Path, folder: Path) -> None:
    with Engine(tiny_phi3, SMALL.model_copy(update={"idle_unload_s": 0.05}), folder) as engine:
        text, _ = ask(engine, TALK, keep="a")
        wait_until(lambda: engine.stats().state == "unloaded")
        assert len(files(folder)) == 1
        again, ended = ask(engine, TALK, keep="a")
        assert (again, ended.usage.restored_tokens) == (text, len(TALK) - 1)


def test_an_answer_cut_off_by_closing_leaves_a_state_that_is_right(tiny_phi3: Path, folder: Path) -> None:
    engine = Engine(tiny_phi3, SMALL, folder)
    writing = engine.complete(Request(TALK, GREEDY, 300, keep="a"))
    next(iter(writing))
    engine.close()
    text, ended = told(tiny_phi3, folder)
    assert text == told(tiny_phi3, None)[0]
    assert ended.usage.cached_tokens in (0, len(TALK) - 1)


# ---- recurrent models ----


@pytest.fixture
def settings() -> EngineSettings:
    return EngineSettings(n_ctx=512, n_batch=32, n_sequences=4, n_threads=1, n_threads_batch=1)


def test_a_recurrent_model_goes_on_from_a_whole_conversation_only(
    mamba: Path, folder: Path, settings: EngineSettings
) -> None:
    prompt = [10 + i * 7 % 200 for i in range(150)]
    with Engine(mamba, settings, folder) as engine:
        text, ended = ask(engine, prompt, keep="a")
    assert len(files(folder)) == 1
    longer = [*prompt, *ended.tokens, 9]
    with Engine(mamba, settings, folder) as engine:
        again, same = ask(engine, prompt)
    assert (again, same.usage.cached_tokens) == (text, 0)  # the state is past the prompt
    with Engine(mamba, settings, folder) as engine:
        other, after = ask(engine, longer)
    assert (after.usage.restored_tokens, after.usage.evaluated_tokens) == (len(prompt) + 15, 2)
    with Engine(mamba, settings) as engine:
        assert ask(engine, longer)[0] == other
