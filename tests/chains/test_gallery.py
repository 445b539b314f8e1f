"""The gallery: each entry can be made, tried with its example, drawn and overridden."""

from pathlib import Path
from typing import Any

import pytest
from answers import answers
from langchain_core.runnables import Runnable

from phireside import chains
from phireside.chains import Cost, Entry, gallery, prompts_text
from phireside.chains.prompt_files import load_prompts, prompt_names
from phireside.errors import SettingsError
from phireside.models import ChatGGUF
from phireside.settings import Settings

ENTRIES = gallery()
NO_CHAINS = {"forms"}  # files of prompts that serve other chains


def named(entry: Entry) -> str:
    return entry.name


def test_every_file_of_prompts_has_an_entry_and_no_two_have_one_name() -> None:
    assert {entry.file for entry in ENTRIES} == set(prompt_names()) - NO_CHAINS
    assert len({entry.name for entry in ENTRIES}) == len({entry.title for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_an_entry_is_a_public_chain_with_all_that_a_page_shows(entry: Entry) -> None:
    assert callable(getattr(chains, entry.name))
    assert entry.description.endswith(".")
    assert prompts_text(entry.file)
    chain = entry.make(answers("x"))
    assert isinstance(chain, Runnable)
    assert set(entry.example) == set(chain.get_input_schema().model_fields) or entry.name == "validated"
    names = [node.name for node in chain.get_graph().nodes.values()]
    assert len(names) >= 3
    assert chain.get_output_schema().model_fields


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_the_prompts_of_an_entry_can_be_overridden(entry: Entry, tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    copy.write_text(prompts_text(entry.file), "utf-8")
    entry.make(answers("x"), copy)
    with pytest.raises(SettingsError, match="no such prompt"):
        entry.make(answers("x"), {"no such prompt": "x"})


def test_an_example_is_a_copy_that_a_page_may_change() -> None:
    gallery()[0].example["summary"] = "changed"
    assert gallery()[0].example == load_prompts("story").example


@pytest.mark.real
@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_the_starter_answers_every_example(entry: Entry, settings: Settings, starter_path: Any) -> None:
    model = ChatGGUF(
        model="starter", settings=settings, temperature=0, max_tokens=160 if entry.name == "extract" else 24
    )
    last: Any = None
    for piece in entry.make(model).stream(entry.example):
        last = piece if last is None else last + piece
    cost = last["cost"] if isinstance(last, dict) else last.cost
    assert isinstance(cost, Cost)
    assert cost.prompt_tokens > 0
