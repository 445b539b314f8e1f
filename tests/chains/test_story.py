"""The chains of the book: the order of their prompts, their own sampling, their prompts as data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import Answers, answers

from phireside.chains.pitch import pitch_chain
from phireside.chains.prompt_files import load_prompts
from phireside.chains.shopping import shopping_chain
from phireside.chains.story import story_chain
from phireside.errors import RequestError, SettingsError
from phireside.models import PRESETS, ChatGGUF
from phireside.settings import Settings

Make = Callable[..., Any]
CHAINS: list[tuple[str, Make, list[str]]] = [
    ("story", story_chain, ["title", "character", "story"]),
    ("pitch", pitch_chain, ["name", "slogan", "pitch"]),
    ("shopping", shopping_chain, ["breakfast_recipe", "lunch_recipe", "dinner_recipe", "shopping_list"]),
]


@pytest.mark.parametrize(("name", "make", "keys"), CHAINS)
def test_a_chain_gives_its_example_all_its_answers(name: str, make: Make, keys: list[str]) -> None:
    numbers = iter(range(1, 9))
    model = answers(lambda messages: f"answer {next(numbers)}")
    example = load_prompts(name).example
    result = make(model=model).invoke(example)
    assert list(result) == [*example, *keys, "cost", "shortened"]
    assert result["cost"].calls == len(keys)
    last = model.asked[-1][-1][1]
    assert all(result[key] in last for key in keys[:-1] if key != "character" or name == "story")


@pytest.mark.parametrize(("name", "make", "keys"), CHAINS)
def test_every_link_can_have_its_own_sampling_and_prompt(name: str, make: Make, keys: list[str]) -> None:
    model = answers("x")
    sampling = {keys[-1]: PRESETS["creative"]}
    own = {keys[0]: "Mine: " + " ".join(f"{{{each}}}" for each in load_prompts(name).prompts[keys[0]].input_variables)}
    make(model=model, sampling=sampling, prompts=own).invoke(load_prompts(name).example)
    assert model.asked[0][0][1].startswith("Mine: ")
    assert [bool(each) for each in model.arguments] == [False] * (len(keys) - 1) + [True]
    with pytest.raises(RequestError, match=f"{name} has no link typo.*{keys[-1]}"):
        make(model=model, sampling={"typo": PRESETS["email"]})
    with pytest.raises(SettingsError, match="no prompt called typo"):
        make(model=model, prompts={"typo": "x"})


def test_a_story_from_a_text_alone_and_from_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("prompts:\n  title: 'Un titre: {summary}'\n")
    model = answers('"A Title"\nand more')
    result = story_chain(model=model, prompts=file).invoke("a {girl}")
    assert model.asked[0] == [("human", "Un titre: a {girl}")]
    assert result["title"] == "A Title"
    assert "A Title" in model.asked[1][0][1]


@pytest.mark.parametrize("given", ["", {}, {"summary": "a", "title": "b"}, {"text": "a"}])
def test_bad_input_is_refused_before_a_model_is_asked(given: Any) -> None:
    model: Answers = answers("x")
    with pytest.raises(RequestError):
        story_chain(model=model).invoke(given)
    assert model.asked == []


@pytest.mark.real
def test_the_starter_writes_titles_in_one_line(settings: Settings, starter_path: Any) -> None:
    model = ChatGGUF(model="starter", settings=settings, max_tokens=24, seed=1)
    result = story_chain(model=model).invoke("a girl that lost her mother")
    assert 0 < len(result["title"]) <= 100
    assert not set(result["title"]) & set('\n"*#')
    assert result["shortened"] == [key for key in ("character", "story") if key in result["shortened"]]
