"""The models page in AppTest: what there is, downloads from a hub of our own, loading, speed, and deleting."""

import shutil
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from pages import fine, keys, press, texts
from streamlit.testing.v1 import AppTest

from phireside.models import download as transfer
from phireside.models.downloads import unload
from phireside.models.fit import Machine, judge
from phireside.models.found import ModelFolders
from phireside.models.info import MemoryNeed
from phireside.models.loaded import loaded_models
from phireside.models.runtime import close_all
from phireside.models.speed import Speed
from phireside.ui import model_card, models_page
from phireside.ui.model_card import downloads, fit_line, speed_line

MAIN = Path(models_page.__file__).with_name("main.py")
HUB = "hf:o/r/x.gguf"
PART = 3_000_000
GB = 1_000_000_000


@pytest.fixture
def models(parts, menu, monkeypatch):
    """`models()` opens the page; no other program has models here."""
    parts.catalog._folders = ModelFolders()
    close_all()  # what the test before left in memory

    def open_page() -> AppTest:
        return fine(menu(AppTest.from_file(MAIN, default_timeout=60), "models"))

    yield open_page
    for each in loaded_models():
        unload(each.path)


@pytest.fixture
def served(hub, parts, tiny_phi3):
    """A hub with a model, which is where the catalogue looks."""
    hub.body = tiny_phi3.read_bytes()
    parts.catalog._endpoint = hub.url
    yield hub
    assert downloads().stop_all(20)


@pytest.fixture
def gate(monkeypatch):
    """Where a transfer that broke off waits until this is set."""
    gate = Event()
    monkeypatch.setattr(transfer, "time", SimpleNamespace(sleep=lambda _: gate.wait(60)))
    yield gate
    gate.set()


@pytest.fixture
def own(settings, tiny_chatml):
    """A model that a person put into the models folder."""
    settings.models_dir.mkdir(parents=True)
    return Path(shutil.copy(tiny_chatml, settings.models_dir / "own.gguf"))


def test_a_bare_machine_has_the_starter_and_can_download_phi_3(models):
    app = models()
    assert "**starter** · on disk · :material/star: new chats begin with it" in texts(app)
    assert r"**phi\-3** · not on this machine" in texts(app)
    assert "This machine has" in texts(app)
    assert "No model is in memory" in texts(app)
    assert {"download-phi-3", "load-starter", "speed-starter", "chat-starter"} <= keys(app)
    assert not {"delete-starter", "download-starter", "load-phi-3"} & keys(app)


def test_a_download_is_stopped_resumed_and_discarded_from_any_page(models, served, gate, until, parts):
    served.breaks = [PART]
    app = models()
    app.text_input(key="hub-name").set_value(HUB)
    app = press(app, "hub-start")
    entry = parts.catalog.find(HUB)
    until(lambda: downloads().of(entry).done >= PART)
    app = models()
    assert r"**hf\:o\/r\/x\.gguf** · downloading" in texts(app), "Another tab sees it."
    press(app, f"stop-{HUB}")
    gate.set()
    until(lambda: not downloads().of(entry).under_way)
    app = models()
    assert app.button(key=f"download-{HUB}").label == "Resume at 3 MB"
    app = press(press(app, f"delete-{HUB}"), f"delete-no-{HUB}")
    assert downloads().kept(entry) >= PART
    app = press(press(app, f"delete-{HUB}"), f"delete-yes-{HUB}")
    assert f"download-{HUB}" not in keys(app)
    assert downloads().kept(entry) == 0


def test_a_download_that_was_begun_here_ends_in_the_list(models, served, until, parts):
    app = models()
    app.text_input(key="hub-name").set_value(HUB)
    app = press(app, "hub-start")
    until(lambda: not downloads().of(parts.catalog.find(HUB)).under_way)
    app = fine(app.run())
    assert r"**hf\:o\/r\/x\.gguf** · on disk" in texts(app)
    app = press(press(app, f"delete-{HUB}"), f"delete-yes-{HUB}")
    assert f"load-{HUB}" not in keys(app)


def test_why_a_download_failed_stands_at_the_model(models, served, until, parts):
    served.status = 403
    app = press(models(), "download-phi-3")
    until(lambda: not downloads().of(parts.catalog.find("phi-3")).under_way)
    app = fine(app.run())
    assert "its owner has to give you access" in app.error[0].value
    assert "download-phi-3" in keys(app)


def test_a_name_that_is_none_is_refused(models):
    app = models()
    app.text_input(key="hub-name").set_value("hf:../x")
    app = press(app, "hub-start")
    assert "names no file on a hub" in app.error[0].value.replace("\\", "")


@pytest.mark.real
def test_a_model_is_loaded_measured_watched_and_unloaded(models, own, until):
    app = press(models(), "load-own")
    until(lambda: bool(loaded_models()) and loaded_models()[0].stats.state == "ready")
    app = models()
    assert "**own** · **in memory**" in texts(app)
    assert r":material/memory: **own\.gguf** · idle" in texts(app)
    app = press(app, "speed-own")
    until(lambda: loaded_models()[0].stats.served.requests == 1)
    until(lambda: app.session_state["model-work"]["own"].running.ended)
    app = fine(app.run())
    assert ":material/speed: Reads" in texts(app)
    assert "Requests: 64 tokens written." in [caption.help for caption in app.main.caption]
    app = press(app, "unload-own")
    assert loaded_models() == []
    assert "load-own" in keys(app)


@pytest.mark.real
def test_a_model_at_work_is_not_unloaded(models, own, parts, until):
    from phireside.models.engine import Request
    from phireside.models.loaded import load

    engine = load("own", parts.catalog, parts.settings)
    answer = engine.complete(Request(tuple(range(300, 320)), max_tokens=4000))
    next(iter(answer))
    app = press(models(), "unload-own")
    assert "is at work for 1 request" in app.error[0].value.replace("\\", "")
    answer.cancel()
    until(lambda: engine.stats().running == 0)


def test_what_was_put_into_the_folder_is_deleted_after_a_question(models, own):
    app = press(models(), "delete-own")
    assert own.exists()
    app = press(press(app, "delete-no-own"), "delete-own")
    app = press(app, "delete-yes-own")
    assert not own.exists()
    assert "load-own" not in keys(app)


def test_a_chat_begins_with_the_model(models, own):
    app = press(models(), "chat-own")
    assert app.title[0].value == "What shall we talk about?"
    assert app.session_state["draft"].model == "own"


def test_a_damaged_file_is_said_and_names_are_data(models, settings):
    settings.models_dir.mkdir(parents=True)
    (settings.models_dir / "![x](y) *b*.gguf").write_bytes(b"<html>")
    app = models()
    assert r"**\!\[x\]\(y\) \*b\*** · damaged" in texts(app)
    assert "The file is damaged" in texts(app)


def test_a_model_that_cannot_be_loaded_says_why(models, own, until):
    app = models()
    own.write_bytes(own.read_bytes()[:-1000])
    app = press(app, "load-own")
    until(lambda: app.session_state["model-work"]["own"].running.ended)
    app = fine(app.run())
    assert "is damaged" in app.error[0].value


def test_a_default_on_a_server_is_said(models, parts, monkeypatch):
    remote = parts.settings.model_copy(update={"model": "openai:x", "openai_base_url": "http://127.0.0.1:1/v1"})
    monkeypatch.setattr(models_page, "services", lambda: replace(parts, settings=remote))
    assert r"New chats begin with **openai\:x**" in texts(models())


def test_many_models_are_drawn_when_they_are_asked_for(models, own, monkeypatch):
    monkeypatch.setattr(models_page, "PAGE", 3)
    app = models()
    assert "load-own" not in keys(app)
    assert "load-own" in keys(press(app, "more-models-button"))


NEED = MemoryNeed(n_ctx=4096, cells=4096, weights=2 * GB, kv_cache=2 * GB, compute=0, gpu=3 * GB, free=0)
SHORT = replace(NEED, n_ctx=1024, kv_cache=GB // 2, gpu=2 * GB)


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        (Machine(5 * GB, 8 * GB), ["Fits: takes 4.0 GB of 5.0 GB", "4,096 tokens"]),
        (Machine(3 * GB, 8 * GB), ["Close other programs", "`engine.n_ctx = 1024`"]),
        (Machine(1 * GB, 4 * GB), ["Too large for this machine", "there are 4.0 GB"]),
        (Machine(2 * GB, 8 * GB, 4 * GB, 6 * GB), ["3.0 GB on the GPU and 1.0 GB of 2.0 GB"]),
        (Machine(9 * GB, 9 * GB, 2 * GB, 6 * GB), ["2.0 GB of the GPU's memory", "n_gpu_layers"]),
    ],
)
def test_the_line_on_fitting(machine, said):
    line = fit_line(judge([NEED, SHORT], machine), machine)
    assert all(words in line for words in said), line


def test_the_line_on_speed():
    line = speed_line(Speed(1.5, 256, 2.0, 64, 12.34, False, 2))
    assert "**128** and writes **12.3** tokens/s" in line
    assert "loaded in 1.5 s, cut short; others asked" in line
    assert "loaded" not in speed_line(Speed(0.0, 256, 2.0, 64, 12.34, True, 0))


def test_the_time_that_is_left():
    assert (model_card._time(12.3), model_card._time(600)) == ("12 s", "10 min")
