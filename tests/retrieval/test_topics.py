"""Topics of a base: texts about the same end up together, the same way each time, for any number of chunks."""

import numpy as np
import pytest
from hashed import HashedEmbeddings
from langchain_core.embeddings import DeterministicFakeEmbedding

from phireside.errors import KnowledgeError
from phireside.retrieval import KnowledgeBase
from phireside.retrieval.topics import MOST_TOPICS, generation, topic_map

SUBJECTS = {
    "stove": "stove oven kettle chimney ashes",
    "whale": "whale ocean krill harpoon tide",
    "violin": "violin sonata orchestra bow quartet",
}


def texts(count):
    """Texts about three subjects, in turn: (subject, text)."""
    chance = np.random.default_rng(0)
    for number in range(count):
        subject = list(SUBJECTS)[number % 3]
        words = chance.permutation(SUBJECTS[subject].split())[:4]
        yield subject, f"{' '.join(words)} and the {number}"


@pytest.fixture
def base(tmp_path):
    opened = KnowledgeBase(tmp_path / "base", HashedEmbeddings(32))
    yield opened
    opened.close()


def add(base, pairs):
    pairs = list(pairs)
    base.add_texts([text for _, text in pairs], [{"subject": subject} for subject, _ in pairs])


def test_texts_about_the_same_are_one_topic_with_its_own_words(base):
    add(base, texts(60))
    found = topic_map(base.path, topics=3)
    assert [topic.chunks for topic in found.topics] == [20, 20, 20]
    subjects = [{point.passage.metadata["subject"] for point in found.points if point.topic == n} for n in range(3)]
    assert sorted(map(len, subjects)) == [1, 1, 1]
    for topic, (subject,) in zip(found.topics, subjects, strict=True):
        assert set(topic.words[:4]) <= set(SUBJECTS[subject].split()), "and no stop word, no number"
        assert {each.metadata["subject"] for each in topic.passages} == {subject}
    assert found.chunks == 60


def test_topics_lie_apart_on_the_map(base):
    add(base, texts(60))
    found = topic_map(base.path, topics=3)
    places = np.array([(point.x, point.y) for point in found.points])
    topics = np.array([point.topic for point in found.points])
    middles = np.array([places[topics == n].mean(axis=0) for n in range(3)])
    nearest = ((places[:, None] - middles) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == topics).mean() > 0.95
    assert 0.2 < found.shown <= 1


def test_the_order_of_adding_changes_nothing(base, tmp_path):
    pairs = list(texts(40))
    add(base, pairs)
    other = KnowledgeBase(tmp_path / "other", HashedEmbeddings(32))
    add(other, reversed(pairs))
    other.close()
    one, two = (
        [(p.passage.page_content, p.x, p.y, p.topic) for p in topic_map(folder).points]
        for folder in (base.path, other.path)
    )
    assert one == two


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_chunks_have_a_map(base, count):
    base.add_texts([f"about {SUBJECTS[each]}" for each in list(SUBJECTS)[:count]])
    found = topic_map(base.path)
    assert len(found.points) == found.chunks == count
    assert len(found.topics) == bool(count)
    assert sum(topic.chunks for topic in found.topics) == count
    assert all(np.isfinite((point.x, point.y)).all() for point in found.points)


def test_equal_texts_and_texts_without_words_have_a_map(base):
    base.add_texts(["the same"] * 30 + ["1 2 3", "漢字"])
    found = topic_map(base.path, topics=9)
    assert len(found.topics) == 3, "No more topics than different vectors."
    assert found.topics[0].chunks == 30
    base.delete()
    base.add_texts(["12 34"] * 4)
    assert (topic_map(base.path).topics[0].words, topic_map(base.path).shown) == ((), 0.0)


def test_a_large_base_is_sampled_the_same_way_each_time(base):
    add(base, texts(3000))
    found = topic_map(base.path, sample=300)
    assert (len(found.points), found.chunks) == (300, 3000)
    assert len(found.topics) == MOST_TOPICS
    numbers = [int(point.passage.page_content.split()[-1]) for point in found.points]
    assert 1200 < np.mean(numbers) < 1800, "It is not the beginning of the base, nor its end."
    assert topic_map(base.path, sample=300) == found
    base.add_texts(["one more"])
    more = topic_map(base.path, sample=300)
    same = {point.passage.id for point in found.points} & {point.passage.id for point in more.points}
    assert len(same) >= 299


@pytest.mark.slow
def test_a_hundred_thousand_chunks(tmp_path):
    base = KnowledgeBase(tmp_path / "large", DeterministicFakeEmbedding(size=8))
    vectors = np.random.default_rng(0).normal(size=(100_000, 8))
    base.add_embeddings((f"chunk {number}", vector) for number, vector in enumerate(vectors))
    base.close()
    found = topic_map(base.path)
    assert (len(found.points), found.chunks) == (2000, 100_000)


def test_the_generation_tells_whether_a_map_is_still_right(base):
    before = generation(base.path)
    assert generation(base.path) == before
    base.add_texts(["something new"])
    assert generation(base.path) > before


def test_a_folder_without_a_base_is_an_error_and_stays_as_it_is(tmp_path):
    for look in (topic_map, generation):
        with pytest.raises(KnowledgeError, match="no base"):
            look(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
