"""The knowledge page in a real Chromium, with the starter's embeddings: files sent, read and searched, and the map."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import WAIT, app_process, button, fits, go_to
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.real]

SUBJECTS = {
    "ice": "Ice on a lake carries a person at ten centimetres. Frozen lakes sing at night, under the strain of ice.",
    "stove": "A stove burns best with dry birch. Open the damper before you light a stove, and sweep the chimney.",
    "bread": "Knead the dough until it is smooth. Let the dough rise in a warm place, and bake the bread to a crust.",
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, starter_path: Path) -> Iterator[str]:
    with app_process(tmp_path_factory.mktemp("knowledge"), PHIRESIDE_MODEL="starter") as address:
        yield address


@pytest.fixture
def knowledge(app: str, tab: Callable[..., Page]) -> Callable[..., Page]:
    """`knowledge()` opens the page by the menu."""

    def open_page(width: int = 1440, theme: str = "light") -> Page:
        page = tab(app, width, theme)
        go_to(page, "Knowledge")
        return page

    return open_page


def view(page: Page, name: str) -> None:
    choice = page.get_by_test_id("stButtonGroup").first.get_by_role("radio", name=name, exact=True)
    choice.click()
    expect(choice).to_be_checked(timeout=WAIT)


def files(subjects: dict[str, str]) -> list[dict[str, object]]:
    made = [
        {"name": f"{name} {part}.md", "mimeType": "text/markdown", "buffer": f"# {name.title()}\n\n{text}".encode()}
        for name, whole in subjects.items()
        for part, text in enumerate(re.split(r"(?<=\.) ", whole))
    ]
    return [*made, {"name": "<i>x.exe", "mimeType": "", "buffer": b"MZ"}]


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_files_are_sent_read_searched_and_mapped(knowledge, shoot, width, theme):
    page, look = knowledge(width, theme), f"{width}-{theme}"
    page.get_by_label("New base").fill(f"Cabin {width}")
    button(page, "create-base").click()
    expect(page.get_by_role("heading", name=f"Cabin {width}")).to_be_visible(timeout=WAIT)
    page.locator("input[type=file]").set_input_files(files(SUBJECTS))
    add = button(page, "add-files")
    expect(add).to_have_text("Add 7 files", timeout=WAIT)
    add.click()
    expect(page.get_by_text(re.compile("6 added, 1 could not be read"))).to_be_visible(timeout=8 * WAIT)
    expect(page.get_by_text("<i>x.exe is of a kind that is not known here")).to_be_visible()
    fits(page)
    shoot(page, f"knowledge-added-{look}")
    button(page, "dismiss-work").click()
    expect(page.get_by_text("6 added")).to_have_count(0, timeout=WAIT)  # what is below it moves up
    view(page, "Documents")
    button(page, "read-").click()
    expect(page.get_by_text("1 of 1")).to_be_visible(timeout=WAIT)
    fits(page)
    shoot(page, f"knowledge-documents-{look}")
    view(page, "Search")
    page.get_by_label("Search for").fill("May I walk on frozen lakes?")
    page.get_by_label("Search for").press("Enter")
    expect(page.locator("mark").first).to_be_visible(timeout=2 * WAIT)
    expect(page.locator(".st-key-hit-1")).to_contain_text("Ice")
    fits(page)
    shoot(page, f"knowledge-search-{look}")
    view(page, "Map")
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible(timeout=2 * WAIT)
    fits(page)
    shoot(page, f"knowledge-map-{look}")
    button(page, "all-bases").click()
    expect(page.get_by_text("6 documents").first).to_be_visible(timeout=WAIT)
    fits(page)
    shoot(page, f"knowledge-{look}")
