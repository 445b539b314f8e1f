"""The chains page in a real Chromium, on the starter: the gallery, a chain that streams, its graph, and sampling."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import WAIT, app_process, button, fits, go_to
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.real]

TITLE = re.compile(r"^Title:?$")  # a long one stands below its name, without the colon


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, starter_path: Path) -> Iterator[str]:
    with app_process(tmp_path_factory.mktemp("chains"), PHIRESIDE_MODEL="starter") as address:
        yield address


@pytest.fixture
def chains(app: str, tab: Callable[..., Page]) -> Callable[..., Page]:
    """`chains(name)` opens the gallery by the menu, and there a chain."""

    def open_chain(name: str, width: int = 1440, theme: str = "light") -> Page:
        page = tab(app, width, theme)
        go_to(page, "Chains")
        expect(button(page, "chain-sampling")).to_be_visible(timeout=2 * WAIT)
        fits(page)
        button(page, f"chain-{name}").click()
        expect(page).to_have_url(re.compile(f"chain={name}"), timeout=WAIT)
        expect(button(page, "all-chains")).to_be_visible(timeout=2 * WAIT)
        return page

    return open_chain


def paths(page: Page) -> list[str]:
    return page.get_by_text(re.compile(r"^Path \d")).all_inner_texts()


def test_paths_of_reasoning_grow_side_by_side_and_the_cost_stands_below(chains, shoot):
    page = chains("self_consistency")
    page.get_by_label("Question").fill("Ann has 3 apples and buys 4 more. How many apples has she? Explain at length.")
    page.keyboard.press("Control+Enter")
    button(page, "run").click()
    expect(page.get_by_text("thinking …").first).to_be_visible(timeout=2 * WAIT)
    expect(page.get_by_text(re.compile(r"^Path 5"))).to_be_visible(timeout=2 * WAIT)
    fits(page)
    shoot(page, "chains-paths")
    expect(page.get_by_text(re.compile(r"calls of the model · .* tokens read"))).to_be_visible(timeout=4 * WAIT)
    expect(page.get_by_text("Agreement:")).to_be_visible(timeout=2 * WAIT)
    assert len(paths(page)) == 5
    expect(button(page, "run")).to_be_enabled(timeout=WAIT)
    shoot(page, "chains-answered")


def test_a_stopped_chain_keeps_what_came(chains):
    page = chains("story_chain")
    page.get_by_label("Summary").fill("a lighthouse keeper, told at great length")
    page.keyboard.press("Enter")
    button(page, "run").click()
    title = page.get_by_text(TITLE)
    expect(title).to_be_visible(timeout=2 * WAIT)
    page.keyboard.press("Escape")
    expect(page.get_by_text("Stopped")).to_be_visible(timeout=2 * WAIT)
    expect(title).to_be_visible(timeout=2 * WAIT)
    expect(button(page, "run")).to_be_enabled(timeout=WAIT)


def test_one_person_gets_probabilities_while_another_ones_story_is_written(chains, shoot):
    page, other = chains("story_chain"), chains("classify")
    button(page, "run").click()
    expect(page.get_by_text(TITLE)).to_be_visible(timeout=2 * WAIT)
    button(other, "run").click()
    expect(other.get_by_text("Probabilities", exact=True)).to_be_visible(timeout=2 * WAIT)
    expect(other.get_by_test_id("stVegaLiteChart")).to_be_visible(timeout=2 * WAIT)
    shoot(other, "chains-probabilities")
    button(page, "stop").click()  # a story may be long
    expect(page.get_by_text("Stopped")).to_be_visible(timeout=WAIT)
    expect(button(page, "run")).to_be_enabled(timeout=WAIT)


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_the_graph_and_the_prompts_are_drawn(chains, shoot, width, theme):
    page = chains("shopping_chain", width, theme)
    page.get_by_test_id("stExpander").filter(has_text="Graph").locator("summary").click()
    graph = page.get_by_test_id("stGraphVizChart")
    expect(graph.get_by_text("shopping_list", exact=True).first).to_be_visible(timeout=2 * WAIT)
    expect(graph.locator("g.node")).to_have_count(6, timeout=WAIT)
    fits(page)
    page.get_by_test_id("stExpander").filter(has_text="Prompts").locator("summary").click()
    prompts = page.get_by_test_id("stExpander").get_by_role("textbox")
    expect(prompts).to_have_value(re.compile("lunch_recipe:"), timeout=WAIT)
    fits(page)
    shoot(page, f"chains-graph-{width}-{theme}")


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_sampling_is_seen_stage_by_stage(chains, shoot, width, theme):
    page = chains("sampling", width, theme)
    expect(page.get_by_text(re.compile(r"Temperature 0\.7 leaves all"))).to_be_visible(timeout=2 * WAIT)
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible(timeout=2 * WAIT)
    shoot(page, f"sampling-{width}-{theme}")
    page.get_by_role("button", name="Email").click()
    expect(page.get_by_text(re.compile(r"Temperature 0\.2 leaves"))).to_be_visible(timeout=2 * WAIT)
    page.get_by_test_id("stButtonGroup").get_by_text("Top-p").click()
    expect(page.get_by_text(re.compile(r"Top-p 0\.5 leaves \d+ of 40 tokens"))).to_be_visible(timeout=2 * WAIT)
    fits(page)
    page.get_by_test_id("stVegaLiteChart").scroll_into_view_if_needed()
    shoot(page, f"sampling-top-p-{width}-{theme}")
