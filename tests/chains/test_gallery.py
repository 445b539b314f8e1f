"""The gallery: each entry can be made, tried with its example by any model, drawn and overridden."""

from pathlib import Path
from typing import Any

import pytest
from answers import Plain, answers
from langchain_core.runnables import Runnable

from phireside import chains
from phireside.chains import Cost, Entry, gallery, prompts_text
from phireside.chains.prompt_files import load_prompts, prompt_names
from phireside.errors import SettingsError
from phireside.models import ChatGGUF
from phireside.settings import Settings

ENTRIES = gallery()
NO_CHAINS = {"forms", "rag", "judging"}  # of other chains, and of those that need documents to be tried


PROFILE = '{"name": "Ada", "position": "professor", "keywords": ["ice"]}'
SAID = {  # what is answered in words, and what of the result that must become
    "story_chain": ("A title", "title", "A title"),
    "pitch_chain": ("Name", "slogan", "Name"),
    "shopping_chain": ("Flour", "shopping_list", "Flour"),
    "validated": ("Yes.", "valid", True),
    "summarize": ("Short.", "text", "Short."),
    "extract": (f"```json\n{PROFILE}\n```", "parts", ()),
    "classify": ("Positive.", "label", "positive"),
    "choose": ('"Apple"', "label", "apple"),
    "yes_no": ("Yes", "answer", True),
    "matching": ("1969-07-20", "text", "1969-07-20"),
    "chain_of_thought": ("9", "answer", "9"),
    "self_consistency": ("9", "agreement", 1.0),
    "tree_of_thought": ("Sure", "answer", "Sure"),
    "three_experts": ("9", "answer", "9"),
}
GRAPHS = {  # what comes before what; "-" = the input, and the output
    "story_chain": "- title, title character, character story, story -",
    "pitch_chain": "- name, name slogan, slogan pitch, pitch -",
    "shopping_chain": "- breakfast_recipe, - lunch_recipe, - dinner_recipe, breakfast_recipe shopping_list, "
    "lunch_recipe shopping_list, dinner_recipe shopping_list, shopping_list -",
    "validated": "- answer, answer judge, judge -, judge revise, revise judge",
    "summarize": "- map, map -, map reduce, reduce reduce, reduce -",
    "extract": "- whole, whole -, - part, part merge, merge -, part -",
    **dict.fromkeys(["classify", "choose", "yes_no", "matching"], "- prompt, prompt -"),
    **dict.fromkeys(["chain_of_thought", "self_consistency"], "- few_shot, few_shot answer, answer -"),
    "tree_of_thought": "- first, first rate, rate next, next rate, rate answer, answer -",
    "three_experts": "- experts, experts answer, answer -",
}


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
    assert chain.get_name() == entry.name
    assert set(entry.example) == set(chain.get_input_schema().model_fields) or entry.name == "validated"
    assert chain.get_output_schema().model_fields


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_any_chat_model_answers_every_example(entry: Entry) -> None:
    said, part, value = SAID[entry.name]
    result = entry.make(Plain(says=said)).invoke(entry.example)
    assert (result[part] if isinstance(result, dict) else getattr(result, part)) == value


@pytest.mark.parametrize("entry", ENTRIES, ids=named)
def test_the_graph_is_what_runs(entry: Entry) -> None:
    """Each prompt with its model, and what comes before what."""
    graph = entry.make(answers("x")).get_graph()
    first, *inner, last = graph.nodes.values()
    names = {node.id: node.name for node in inner} | {first.id: "-", last.id: "-"}
    own = {edge.target: edge.source for edge in graph.edges if names[edge.target] == "Answers"}  # models
    edges = {(own.get(edge.source, edge.source), edge.target) for edge in graph.edges if edge.target not in own}
    assert sorted(f"{names[source]} {names[target]}" for source, target in edges) == sorted(
        GRAPHS[entry.name].split(", ")
    )
    assert len(own) + (entry.name == "validated") >= len(inner) / 2
    assert graph.draw_mermaid()


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
def test_the_engine_answers_every_example(entry: Entry, settings: Settings, tiny_chatml: Path) -> None:
    model = ChatGGUF(
        model=str(tiny_chatml), settings=settings, temperature=0, max_tokens=160 if entry.name == "extract" else 24
    )
    last: Any = None
    for piece in entry.make(model).stream(entry.example):
        last = piece if last is None else last + piece
    cost = last["cost"] if isinstance(last, dict) else last.cost
    assert isinstance(cost, Cost)
    assert cost.prompt_tokens > 0
