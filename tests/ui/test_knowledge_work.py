"""Work on a base, without its page."""

from hashed import HashedEmbeddings

from phireside.errors import KnowledgeError
from phireside.retrieval import KnowledgeBase
from phireside.ui.background import PATIENCE, Work
from phireside.ui.knowledge_work import add_uploads


class Picky(KnowledgeBase):
    """A base that refuses one file."""

    def add_upload(self, name, data, metadata=None):
        if name == "a.txt":
            raise KnowledgeError("Not this one.")
        return super().add_upload(name, data, metadata)


def test_a_file_that_the_base_refuses_keeps_no_other_out(tmp_path):
    base = Picky(tmp_path / "base", HashedEmbeddings())
    work = Work("Adding", add_uploads([("a.txt", b"Ships."), ("b.txt", b"Trains.")], lambda _: base))
    work.wait(PATIENCE)
    assert [(name, error.message) for name, error in work.failed] == [("a.txt", "Not this one.")]
    assert [each.title for each in base.documents()] == ["b.txt"]
    base.close()
