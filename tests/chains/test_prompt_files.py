"""Prompts as data: what a file may hold, how a person's own prompts take the place of ours, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder

from phireside.chains.prompt import Prompt
from phireside.chains.prompt_files import FOLDER, load_prompts, prompt_names, to_prompt, variables_of
from phireside.errors import RequestError, SettingsError

NAMES = prompt_names()


def file(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, "utf-8")
    return path


# ---- the files that are shipped ----


def test_there_is_a_file_for_each_chain_of_the_book() -> None:
    assert {"story", "pitch", "shopping", "validated"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_file_can_be_read_and_says_what_it_is_for(name: str) -> None:
    found = load_prompts(name)
    assert found.name == name
    assert found.description.endswith(".")
    assert found.prompts


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_of_a_shipped_file_can_take_its_place(name: str, tmp_path: Path) -> None:
    copy = file(tmp_path, (FOLDER / f"{name}.yaml").read_text("utf-8"))
    assert load_prompts(name, copy).prompts == load_prompts(name).prompts
    assert load_prompts(name, str(copy)).prompts == load_prompts(name).prompts


def test_a_chain_without_a_file_is_an_error_and_not_a_traceback() -> None:
    with pytest.raises(SettingsError, match="no-such"):
        load_prompts("no-such")


# ---- what a prompt may be ----


def test_a_text_is_one_human_message_and_a_list_is_several() -> None:
    assert to_prompt("Say {x}.").format_messages(x="a") == [HumanMessage("Say a.")]
    listed = to_prompt([{"system": "Be {tone}."}, {"human": "{x}"}, ("ai", "ok"), ["human", "now"]])
    assert listed.format_messages(tone="kind", x="a") == [
        SystemMessage("Be kind."), HumanMessage("a"), AIMessage("ok"), HumanMessage("now"),
    ]  # fmt: skip


@pytest.mark.parametrize("own", [Prompt.of(data="{x}"), ChatPromptTemplate([("human", "{x}")])])
def test_a_prompt_of_langchain_stays_what_it_is(own: Any) -> None:
    assert to_prompt(own) is own


@pytest.mark.parametrize(
    "text", ["{x.y}", "{x[0]}", "{x!r}", "{x:>9}", "{x:{y}}", "{}", "{0}", "{a b}", "{x", "x}", "{{x}"]
)
def test_what_is_no_plain_variable_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        to_prompt(text)
    with pytest.raises(SettingsError):
        load_prompts("story", {"title": text + "{summary}"})


@pytest.mark.parametrize("value", [None, 3, [3], [{"robot": "x"}], [{"human": 3}], [{"human": "a", "ai": "b"}], ["ab"]])
def test_what_is_no_prompt_is_refused(value: Any) -> None:
    with pytest.raises(SettingsError):
        load_prompts("story", {"title": value})


@given(st.text())
def test_a_text_is_either_read_as_python_reads_it_or_refused(text: str) -> None:
    try:
        names = variables_of(text)
    except ValueError:
        return
    filled = dict.fromkeys(names, "{x}")
    assert to_prompt(text).format_messages(**filled)[0].text == text.format(**filled)


# ---- filling in ----


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "missing: summary"),
        ({"summary": "x", "titel": "y"}, "unknown: titel"),
        ({"summary": "\t"}, "empty summary"),
    ],
)
def test_variables_are_strict(values: dict[str, str], said: str) -> None:
    with pytest.raises(RequestError, match=f"{said}|story.title"):
        load_prompts("story").messages("title", **values)


@given(st.text().filter(str.strip))
def test_what_is_filled_in_is_data(text: str) -> None:
    (message,) = load_prompts("story", {"title": "T: {summary}"}).messages("title", summary=text)
    assert message.text == f"T: {text}"


def test_optional_variables_of_langchains_prompts_may_be_left_out() -> None:
    own = ChatPromptTemplate([MessagesPlaceholder("history", optional=True), ("human", "{summary}")])
    found = load_prompts("story", {"title": own})
    assert found.messages("title", summary="a") == [HumanMessage("a")]
    assert len(found.messages("title", summary="a", history=[("human", "b")])) == 2


# ---- overriding ----


def test_those_not_named_stay_and_the_shipped_ones_are_not_changed() -> None:
    shipped = load_prompts("story")
    own = load_prompts("story", {"title": "T {summary}"})
    assert own.prompts["story"] is shipped.prompts["story"]
    assert own.prompts["title"] != shipped.prompts["title"]
    assert load_prompts("story").prompts["title"] == shipped.prompts["title"]
    assert load_prompts("story", {}).prompts == shipped.prompts


def test_a_name_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(SettingsError, match=r"no prompt called titel.*title, character, story"):
        load_prompts("story", {"titel": "x"})


@pytest.mark.parametrize("text", ["no variable", "{summary} {author}", "{sumary}"])
def test_a_prompt_with_other_variables_is_refused_with_those_it_needs(text: str) -> None:
    with pytest.raises(SettingsError, match=r"story\.title has the variables .*, but needs summary"):
        load_prompts("story", {"title": text})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just text",
        "- a\n- list",
        "prompts:",
        "prompts: text",
        "prompts: [a]",
        "prompts:\n  title: {a: b}\n",
        "prompts:\n  title: '{summary.x}'\n",
        "prompts:\n  title: '{summary'\n",
        "prompts: {title: [",
        "prompts:\n  title: !!python/object/apply:os.system ['echo hi']\n",
        "example: 3\nprompts: {title: '{summary}'}",
    ],
)
def test_a_file_that_cannot_be_used_is_an_error_with_its_path(text: str, tmp_path: Path) -> None:
    path = file(tmp_path, text)
    with pytest.raises(SettingsError, match=r"mine\.yaml"):
        load_prompts("story", path)


@pytest.mark.parametrize("make", [lambda folder: folder / "missing.yaml", lambda folder: folder])
def test_a_path_that_is_no_file_is_an_error(make: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be used"):
        load_prompts("story", make(tmp_path))


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00prompts")
    with pytest.raises(SettingsError):
        load_prompts("story", path)


def test_a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    path = file(tmp_path, "prompts: {title: 'One {summary}'}")
    assert load_prompts("story", path).messages("title", summary="x")[0].text == "One x"
    file(tmp_path, "prompts: {title: 'Another {summary}'}")
    assert load_prompts("story", path).messages("title", summary="x")[0].text == "Another x"
