"""Erasing what one person has, in an app that others use, too: their models and what is kept of their prompts stay."""

from collections.abc import Callable

import pytest

from phireside.chains import Chat
from phireside.erase import COMMON, EVERYTHING, Eraser
from phireside.errors import RequestError
from phireside.memory import ConversationStore
from phireside.models import Catalog
from phireside.models.downloads import Downloads
from phireside.models.engine.disk import StateFiles
from phireside.models.found import ModelFolders
from phireside.settings import Settings


@pytest.fixture
def person(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Eraser]:
    """`person(subject)`: somebody with a conversation, of which a model keeps its state; their eraser."""

    def closed() -> None:
        raise AssertionError("Others were asking the models.")

    monkeypatch.setattr("phireside.erase.close_all", closed)
    states = StateFiles(settings.state_dir / "a" / "b", 10**6)

    def make(subject: str) -> Eraser:
        own = settings.for_person("https://id.example.org", subject)
        own.data_dir.mkdir(parents=True)
        store = ConversationStore(own.conversations_url)
        states.write(store.create("4711").id, [1, 2, len(subject)], b"4711")
        downloads = Downloads(Catalog(settings, ModelFolders()), settings)
        chat = Chat(store, state_dir=own.state_dir)
        return Eraser(own, store, chat, downloads, shared=True, common=False)

    return make


@pytest.mark.parametrize("kind", ["conversations", "bases", EVERYTHING])
def test_only_the_states_of_their_own_conversations_go(settings, person, kind):
    ana = person("ana")
    person("benjamin")
    (settings.models_dir / "phi.gguf").parent.mkdir(parents=True)
    (settings.models_dir / "phi.gguf").write_bytes(b"GGUF")
    assert len(list(settings.state_dir.rglob("*.kv"))) == 2
    assert ana.erase(kind) == []
    left = StateFiles(settings.state_dir / "a" / "b", 10**6)
    assert len(list(settings.state_dir.rglob("*.kv"))) == 1
    assert left.longest([1, 2, len("benjamin")])[1] == 3
    assert (settings.models_dir / "phi.gguf").exists()


def test_what_is_common_is_neither_counted_nor_erased(person):
    ana = person("ana")
    assert not {stored.kind.name for stored in ana.stored()} & set(COMMON)
    for kind in COMMON:
        with pytest.raises(RequestError):
            ana.erase(kind)
