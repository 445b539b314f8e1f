"""Bases are made and deleted as a whole; what is no base is left alone."""

import pytest
from hashed import HashedEmbeddings

from phireside.errors import KnowledgeError
from phireside.retrieval import KnowledgeBase, base_names
from phireside.retrieval.bases import create_base, delete_base
from phireside.retrieval.names import offered_bases


def test_a_base_is_made_listed_and_deleted(tmp_path):
    create_base("My notes", tmp_path)
    assert base_names(tmp_path) == ["My notes"]
    delete_base("My notes", tmp_path)
    assert base_names(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_files_of_a_chat_are_there_but_not_offered(tmp_path):
    chat = f"chat-{'0a' * 16}"
    for name in (chat, "chat-notes"):
        create_base(name, tmp_path)
    assert base_names(tmp_path) == [chat, "chat-notes"]
    assert offered_bases(tmp_path) == ["chat-notes"]
    with pytest.raises(KnowledgeError, match=r"'nothing'; there are: chat-notes\."):
        KnowledgeBase.named("nothing", tmp_path, HashedEmbeddings())


@pytest.mark.parametrize("name", ["notes", "NOTES"])
def test_a_name_is_taken_once_whatever_its_capitals(tmp_path, name):
    create_base("Notes", tmp_path)
    with pytest.raises(KnowledgeError, match="'Notes' already"):
        create_base(name, tmp_path)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "/etc", ".hidden", "x.", "\0"])
def test_a_name_is_no_path(tmp_path, name):
    for act in (create_base, delete_base):
        with pytest.raises(KnowledgeError, match="cannot be the name"):
            act(name, tmp_path / "bases")
    assert list(tmp_path.iterdir()) == []


def test_only_a_base_is_deleted(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(KnowledgeError, match="no base"):
        delete_base("photos", tmp_path)
    assert (tmp_path / "photos").exists()


def test_a_link_to_a_base_is_left_to_the_person(tmp_path):
    create_base("real", tmp_path / "elsewhere")
    (tmp_path / "bases").mkdir()
    (tmp_path / "bases" / "linked").symlink_to(tmp_path / "elsewhere" / "real")
    with pytest.raises(KnowledgeError, match="a link is for you"):
        delete_base("linked", tmp_path / "bases")
    assert base_names(tmp_path / "elsewhere") == ["real"]
