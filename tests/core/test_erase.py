"""Erasing what is kept: each kind alone, everything, and what stays in the way. The app works on afterwards."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hashed import HashedEmbeddings
from langchain_core.messages import AIMessage, HumanMessage
from one_chat import ended
from scripted import scripted

from phireside.chains import Chat
from phireside.erase import EVERYTHING, KINDS, Eraser
from phireside.errors import RequestError, StoreError
from phireside.memory import ConversationStore
from phireside.models import Catalog
from phireside.models.downloads import Downloads
from phireside.models.found import ModelFolders
from phireside.retrieval import KnowledgeBase
from phireside.settings import Settings

SECRET = b"4711"
NAMES = [kind.name for kind in KINDS]


class Open:
    """What an app has open: the eraser, and what it was given."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = ConversationStore(settings.conversations_url)
        self.chat = Chat(self.store, state_dir=settings.state_dir)
        self.downloads = Downloads(Catalog(settings, ModelFolders()), settings)
        self.bases: list[KnowledgeBase] = []
        self.eraser = Eraser(settings, self.store, self.chat, self.downloads, [self.close_bases])

    def base(self, name: str) -> KnowledgeBase:
        self.bases.append(KnowledgeBase.named(name, self.settings.bases_dir, HashedEmbeddings(), create=True))
        return self.bases[-1]

    def close_bases(self) -> None:
        while self.bases:
            self.bases.pop().close()

    def close(self) -> None:
        self.close_bases()
        self.chat.close()
        self.store.close()

    def counts(self) -> dict[str, int]:
        return {stored.kind.name: stored.count for stored in self.eraser.stored()}


@pytest.fixture
def app(settings: Settings) -> Iterator[Open]:
    """An app with two things of each kind; all of them say 4711."""
    settings.data_dir.mkdir()
    app = Open(settings)
    app.store.facts.switch(True)
    for number in range(2):
        opened = app.store.create().id
        app.store.save_turn(opened, [HumanMessage(f"My pin is 4711, {number}."), AIMessage("Noted.")])
        app.store.facts.add(opened, 0, [f"The pin is 4711, {number}."])
        app.base(f"base {number}").add_text("The pin is 4711.")
        for folder, name in [(settings.state_dir / "a" / "b", "kv"), (settings.models_dir / "o" / "r", "gguf")]:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.{name}").write_bytes(SECRET)
        for folder, name in [(settings.runs_dir, "json"), (settings.scenarios_dir, "yaml")]:
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.{name}").write_bytes(SECRET)
    settings.mcp_approvals.write_text('{"servers": {}, "4711": 1}')
    (settings.data_dir / "model-hashes.json").write_text("{}")
    yield app
    app.close()


def holding(folder: Path) -> list[Path]:
    """Files that say 4711."""
    return [path for path in folder.rglob("*") if path.is_file() and SECRET in path.read_bytes()]


def test_what_is_kept_is_counted(app: Open) -> None:
    assert app.counts() == dict.fromkeys(NAMES, 2) | {"approvals": 1}
    sizes = {stored.kind.name: stored.bytes for stored in app.eraser.stored()}
    assert sizes["states"] == sizes["downloads"] == sizes["runs"] == 2 * len(SECRET)
    assert sizes["conversations"]
    assert app.eraser.others() == []


# What else goes with a kind, because it has the same texts.
ALSO = {"conversations": {"states"}, "bases": {"states"}}


@pytest.mark.parametrize("name", NAMES)
def test_a_kind_is_erased_and_the_others_stay(app: Open, name: str) -> None:
    before = app.counts()
    assert app.eraser.erase(name) == []
    gone = {name} | ALSO.get(name, set())
    assert app.counts() == {kind: 0 if kind in gone else count for kind, count in before.items()}
    assert app.eraser.erase(name) == [], "Erasing nothing is no error."


def test_everything_is_erased_and_the_app_goes_on(app: Open, tmp_path: Path) -> None:
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(SECRET)
    (app.settings.models_dir / "link.gguf").symlink_to(outside)
    (app.settings.models_dir / "folder").symlink_to(tmp_path)
    assert app.eraser.erase(EVERYTHING) == []
    assert set(app.counts().values()) == {0}
    assert holding(app.settings.data_dir) == []
    assert outside.read_bytes() == SECRET, "What a link leads to is somebody else's."
    opened = app.store.create().id
    turn = ended(app.chat.send(opened, "Hello?", model=scripted("Hi", ".")))
    assert turn.state == "done"
    assert [message.text for message in app.store.messages(opened)] == ["Hello?", "Hi."]
    base = app.base("base 0")
    base.add_text("A cat.")
    assert len(base.documents()) == 1
    assert app.store.facts.enabled, "The switch is a setting."


def test_an_answer_that_is_being_written_is_stopped_first(app: Open) -> None:
    opened = app.store.create().id
    model = scripted("4711", " and", " on", hold_at=2)
    turn = app.chat.send(opened, "Say it.", model=model)
    while turn.text != "4711 and":
        turn.wait(1)
    assert app.eraser.erase("conversations") == []
    assert turn.ended
    assert app.counts()["conversations"] == 0


def test_files_that_were_dropped_into_a_chat_go_with_the_chats(app: Open) -> None:
    app.base(f"chat-{'0a' * 16}").add_text("4711")
    assert app.counts()["bases"] == 3
    app.eraser.erase("conversations")
    assert sorted(path.name for path in app.settings.bases_dir.iterdir()) == ["base 0", "base 1"]


def test_what_is_in_the_way_is_told_and_the_rest_is_erased(app: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    remove: Callable[..., None] = shutil.rmtree

    def refuse(path: Path) -> None:
        if path.name == "base 0":
            raise PermissionError(13, "Permission denied", str(path))
        remove(path)

    monkeypatch.setattr("phireside.erase.shutil.rmtree", refuse)
    problems = app.eraser.erase(EVERYTHING)
    assert [type(problem) for problem in problems] == [StoreError]
    assert "base 0 cannot be deleted: Permission denied" in problems[0].message
    assert app.counts() == dict.fromkeys(NAMES, 0) | {"bases": 1}


def test_an_unknown_kind_is_refused(app: Open) -> None:
    with pytest.raises(RequestError, match="nothing called"):
        app.eraser.erase("../..")
    assert app.counts()["conversations"] == 2


def test_what_is_not_ours_is_named_and_left(app: Open) -> None:
    (app.settings.data_dir / "diary.txt").write_bytes(SECRET)
    assert app.eraser.others() == ["diary.txt"]
    app.eraser.erase(EVERYTHING)
    assert holding(app.settings.data_dir) == [app.settings.data_dir / "diary.txt"]


@pytest.mark.parametrize("url", ["postgresql://u:p@127.0.0.1/x", "postgresql+psycopg://u:p@127.0.0.1/x"])
def test_a_database_server_is_known_as_one(app: Open, url: str) -> None:
    assert not app.eraser.on_server
    settings = app.settings.model_copy(update={"database_url": url})
    eraser = Eraser(settings, app.store, app.chat, app.downloads)
    assert eraser.on_server
    assert eraser.stored()[0].bytes is None


def test_a_database_in_a_folder_of_any_name_is_measured(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "my data #1")
    settings.data_dir.mkdir()
    app = Open(settings)
    assert (app.eraser.stored()[0].bytes or 0) > 0
    app.close()


def test_a_database_in_memory_takes_no_bytes_of_the_disk(tmp_path: Path) -> None:
    app = Open(Settings(data_dir=tmp_path, database_url="sqlite://"))
    assert app.eraser.stored()[0].bytes == 0
    app.close()
