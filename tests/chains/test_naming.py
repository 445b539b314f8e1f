"""Names of topics: phrases of the passages that have a key word, chosen by a model, and each given once."""

import pytest
from answers import answers

from phireside.chains.naming import phrases, topic_name
from phireside.errors import EngineBusyError
from phireside.models import load_chat_model

WORDS = ("lake", "frozen", "ice")
TEXTS = ["The ice of a frozen lake carries a person, 10 cm of it.", "A frozen lake is loud at night. " * 40]
TEXTS += ["Lake ice, loud at night, is behind the frozen lake."]


async def name(said, **how):
    return await topic_name(WORDS, TEXTS, model=answers(said), **how)


def test_phrases_are_of_the_passages_and_the_commonest_come_first():
    assert phrases(WORDS, TEXTS) == ["Frozen lake", "Frozen lake carries", "Lake ice"]
    assert phrases(("night",), TEXTS) == ["Loud at night"], "Only what several passages say, or several key words."


async def test_the_model_chooses_among_them():
    assert await name("Lake ice") == "Lake ice"
    assert await name("Winter sports") == "", "It is none of them."


async def test_a_name_is_given_once_and_the_last_one_without_asking():
    taken = ["frozen LAKE", "Frozen lake carries"]
    assert await name("Frozen lake", taken=taken) == "Lake ice"
    assert await name("Frozen lake", taken=[*taken, "Lake ice"]) == ""


async def test_without_phrases_there_is_no_name():
    model = answers("Frozen lake")
    assert await topic_name((), TEXTS, model=model) == ""
    assert await topic_name(("tea",), TEXTS, model=model) == ""
    assert model.asked == []


async def test_the_model_reads_the_beginnings_only():
    model = answers("Frozen lake")
    await topic_name(WORDS, TEXTS * 9, model=model)
    assert len(model.asked[0][-1][1]) < 1000


async def test_a_model_that_cannot_be_asked_is_an_error():
    def busy(_):
        raise EngineBusyError("Too many.")

    with pytest.raises(EngineBusyError):
        await name(busy)


@pytest.mark.real
async def test_the_starter_chooses_a_name(starter_path):
    assert await topic_name(WORDS, TEXTS, model=load_chat_model("starter")) in phrases(WORDS, TEXTS)
