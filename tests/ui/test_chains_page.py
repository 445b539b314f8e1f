"""The chains page in AppTest: the gallery, a chain's page from input to result, and the sampling view."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from answers import answers
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableGenerator
from langchain_core.runnables.utils import AddableDict
from streamlit.testing.v1 import AppTest

from phireside.chains import Cost, Entry, gallery, prompts_text, story_chain
from phireside.errors import ModelNotFoundError, RequestError
from phireside.ui import sampling_view
from phireside.ui.running import Running
from phireside.ui.safe_text import literal
from phireside.ui.services import Services

EXAMPLE = {"question": "Why?", "text": "A long text. " * 9}


@dataclass
class Fake:
    """What the chain of the fake entry was made with and given, and what it says."""

    pieces: list[Any] = field(default_factory=lambda: [AddableDict(answer="Beca"), AddableDict(answer="use.")])
    made: list[Mapping[str, Any] | None] = field(default_factory=list)
    given: list[Any] = field(default_factory=list)

    def build(self, *, model: BaseChatModel, prompts: Any) -> Runnable[Any, Any]:
        self.made.append(prompts)
        return RunnableGenerator(self.run)

    async def run(self, inputs: AsyncIterator[Any]) -> AsyncIterator[Any]:
        self.given += [each async for each in inputs]
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            if isinstance(piece, threading.Event):
                await asyncio.to_thread(piece.wait, 20)
            else:
                yield piece


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A gallery of the fake chain, which has the story's prompts, and of the story itself, on a model that says Yes."""
    fake = Fake()
    entries = [
        Entry("fake", "A *fake*", "It answers.", EXAMPLE, "story", fake.build),
        Entry("story_chain", "Story", "A story.", {"summary": "a girl"}, "story", story_chain),
    ]
    monkeypatch.setattr("phireside.ui.chains_page.gallery", lambda: entries)
    monkeypatch.setattr("phireside.ui.chains_page.load_chat_model", lambda *_: answers("Yes."))
    return fake


@pytest.fixture
def chains(parts: Services, menu: Callable[[AppTest, str], AppTest], root: Path) -> Callable[..., AppTest]:
    """`chains()` opens the gallery in a browser session of its own, `chains(name)` a chain by its card."""

    def open_page(name: str | None = None) -> AppTest:
        page = menu(AppTest.from_file(root / "ui" / "main.py", default_timeout=60), "chains")
        return page.button(key=f"chain-{name}").click().run() if name else page

    return open_page


def said(page: AppTest) -> str:
    assert not page.exception
    texts = "\n".join(element.value for element in [*page.markdown, *page.caption, *page.error])
    return re.sub(r"\\(?=[^\w\s])", "", texts)


# ---- the gallery ----


def test_every_chain_has_a_card_with_its_description(chains: Callable[..., AppTest]) -> None:
    page = chains()
    labels = [button.label for button in page.button if button.key and button.key.startswith("chain-")]
    assert len(labels) == len(gallery()) + 1
    for entry in gallery():
        assert f"**{literal(entry.title)}**" in labels
        assert " ".join(entry.description.split()) in said(page)


def test_every_entry_of_the_gallery_opens_with_prompts_and_graph(
    chains: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phireside.ui.chains_page.load_chat_model", lambda *_: answers("Yes."))
    for entry in gallery():
        page = chains(entry.name)
        assert not page.error, entry.name
        assert "answers:" in said(page), entry.name
        assert page.text_area(key=f"prompts-{entry.name}").value == prompts_text(entry.file)
        assert len(page.get("graphviz_chart")) == 1, entry.name
        assert not page.button(key="run").disabled


def test_a_card_opens_its_chain_and_a_button_leads_back(chains: Callable[..., AppTest], fake: Fake) -> None:
    page = chains("fake")
    assert page.query_params["chain"] == "fake"
    assert page.title[0].value == r"A \*fake\*", "Titles are data."
    page.button(key="all-chains").click().run()
    assert "chain" not in page.query_params
    assert page.title[0].value == "Chains"


def test_an_address_that_names_no_chain_shows_the_gallery(chains: Callable[..., AppTest], fake: Fake) -> None:
    page = chains()
    page.query_params["chain"] = "nothing"
    page.run()
    assert page.title[0].value == "Chains"


# ---- a chain ----


def test_the_form_is_made_of_the_example_and_what_is_typed_goes_in(chains: Callable[..., AppTest], fake: Fake) -> None:
    page = chains("fake")
    page.text_input(key="input-fake-question").set_value("How {much}?")
    page.text_area(key="input-fake-text").set_value("One line.\nAnd {another}.")
    page.button(key="run").click().run()
    assert fake.given == [{"question": "How {much}?", "text": "One line.\nAnd {another}."}]
    assert "**Answer:** Because." in said(page)


def test_the_cost_stands_below_the_result(chains: Callable[..., AppTest], fake: Fake) -> None:
    fake.pieces = [AddableDict(answer="Yes"), AddableDict(cost=Cost(2, 10, 4, 1))]
    page = chains("fake")
    page.button(key="run").click().run()
    assert "2 calls of the model · 6 tokens read, 4 found in the cache · 1 written" in said(page)


def test_a_chain_that_ends_while_the_page_is_drawn_can_be_run_again(
    chains: Callable[..., AppTest], fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    fake.pieces.append(gate)

    class EndsUnseen(Running):
        def wait(self, seconds: float) -> bool:
            seen = super().wait(0)
            gate.set()
            assert super().wait(60)
            return seen

    monkeypatch.setattr("phireside.ui.chains_page.Running", EndsUnseen)
    page = chains("fake")
    page.button(key="run").click().run()
    assert not page.button(key="run").disabled
    assert not [each for each in page.button if each.key == "stop"]


def test_a_real_chain_shows_all_of_its_links(chains: Callable[..., AppTest], fake: Fake) -> None:
    page = chains("story_chain")
    page.button(key="run").click().run()
    shown = said(page)
    assert all(f"**{name}:** Yes" in shown for name in ("Title", "Character", "Story"))
    assert "3 calls of the model" in shown
    page.text_input(key="input-story_chain-summary").set_value(" ").run()
    assert "**Title:**" in said(page), "A result stays while the input is changed."
    page.button(key="run").click().run()
    assert "empty summary" in said(page)


@pytest.mark.parametrize(
    "error", [RequestError("It is too *long*.", hint="Shorten it."), RuntimeError("It is too *long*.")]
)
def test_an_error_is_said_and_what_came_before_it_stays(
    chains: Callable[..., AppTest], fake: Fake, error: Exception
) -> None:
    fake.pieces = [AddableDict(answer="Beca"), error]
    page = chains("fake")
    page.text_input(key="input-fake-question").set_value("Mine?")
    page.button(key="run").click().run()
    assert "It is too *long*." in said(page)
    assert "*long*" not in page.error[0].value, "It is shown as it is."
    assert "**Answer:** Beca" in said(page)
    assert page.text_input(key="input-fake-question").value == "Mine?"
    fake.pieces = [AddableDict(answer="Fine")]
    page.button(key="run").click().run()
    assert not page.error
    assert "**Answer:** Fine" in said(page)


def test_a_model_that_cannot_be_used_is_said_in_its_place(
    chains: Callable[..., AppTest], fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> BaseChatModel:
        raise ModelNotFoundError("There is no model.", hint="Get one.")

    monkeypatch.setattr("phireside.ui.chains_page.load_chat_model", refuse)
    page = chains("fake")
    assert "Get one." in said(page)
    assert page.button(key="run").disabled
    assert page.text_input(key="input-fake-question").value == "Why?"


def test_two_chains_keep_their_results_apart(chains: Callable[..., AppTest], fake: Fake) -> None:
    page = chains("fake")
    page.button(key="run").click().run()
    page.button(key="all-chains").click().run()
    page.button(key="chain-story_chain").click().run()
    assert "Because" not in said(page)
    page.button(key="all-chains").click().run()
    page.button(key="chain-fake").click().run()
    assert "Because" in said(page)


# ---- prompts ----


def test_changed_prompts_are_used_and_can_be_reset(chains: Callable[..., AppTest], fake: Fake) -> None:
    page = chains("fake")
    shipped = page.text_area(key="prompts-fake").value
    page.text_area(key="prompts-fake").set_value("prompts:\n  title: 'A title of {summary}'").run()
    page.button(key="run").click().run()
    assert fake.made[-1] == {"title": "A title of {summary}"}
    page.button(key="prompts-fake-reset").click().run()
    assert page.text_area(key="prompts-fake").value == shipped
    page.button(key="run").click().run()
    assert fake.made[-1] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompts: [", "no YAML"),
        ("prompts:\n  title: A title", "has the variables none, but needs summary"),
        ("prompts:\n  titel: '{summary}'", "no prompt called titel"),
    ],
)
def test_prompts_that_do_not_fit_are_said_before_anything_is_asked(
    chains: Callable[..., AppTest], fake: Fake, text: str, message: str
) -> None:
    page = chains("story_chain")
    page.text_area(key="prompts-story_chain").set_value(text).run()
    assert message in said(page)
    assert page.button(key="run").disabled
    assert page.text_area(key="prompts-story_chain").value == text


# ---- sampling ----


@pytest.fixture
def sampling(chains: Callable[..., AppTest], starter_path: Any) -> AppTest:
    return chains("sampling")


@pytest.mark.real
def test_the_sampling_view_says_what_each_stage_leaves(sampling: AppTest) -> None:
    assert "**Temperature 0.7** leaves all" in said(sampling)
    assert len(sampling.get("vega_lite_chart")) == 1
    stages = sampling.get("button_group")[0]
    stages.set_value("top-k").run()
    assert "**Top-k 40** leaves **40 of 49,152 tokens**" in said(sampling)
    sampling.get("button_group")[0].set_value("the model").run()
    assert "The model's own probabilities" in said(sampling)


@pytest.mark.real
def test_a_preset_moves_the_sliders_and_a_slider_the_result(sampling: AppTest) -> None:
    sampling.button(key="sampling-email").click().run()
    assert (sampling.slider(key="sampling-temperature").value, sampling.slider(key="sampling-top_p").value) == (
        0.2,
        0.5,
    )
    assert "**Temperature 0.2** leaves all" in said(sampling)
    sampling.slider(key="sampling-temperature").set_value(0.0).run()
    assert "**Greedy** leaves **1 of 49,152 tokens**" in said(sampling)


@pytest.mark.real
def test_a_prompt_that_cannot_be_used_is_said(sampling: AppTest) -> None:
    sampling.text_area(key="sampling-prompt").set_value(" ").run()
    assert "The prompt is empty" in said(sampling)
    sampling.text_area(key="sampling-prompt").set_value("word " * 30_000).run()
    assert "the context holds" in said(sampling)
    sampling.text_area(key="sampling-prompt").set_value(sampling_view.PROMPT).run()
    assert not sampling.error
