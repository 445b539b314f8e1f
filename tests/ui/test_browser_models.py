"""The models and settings pages in a real Chromium: a download that outlives a page change, and erasing by a word."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsing import WAIT, app_process, button, fits, go_to
from hub import Hub
from langchain_core.messages import AIMessage, HumanMessage
from playwright.sync_api import Page, expect

from phireside.memory import ConversationStore
from phireside.settings import Settings

pytestmark = [pytest.mark.browser, pytest.mark.real]

PART = 4_000_000  # bytes that come before the hub falls silent


@pytest.fixture
def app(hub: Hub, tiny_phi3: Path, tmp_path: Path) -> Iterator[str]:
    """The app with a conversation, and a hub that falls silent."""
    hub.body = tiny_phi3.read_bytes()
    hub.stalls_after = PART
    data = tmp_path / "data"
    data.mkdir()
    store = ConversationStore(Settings(data_dir=data).conversations_url)
    opened = store.create("Pins").id
    store.save_turn(opened, [HumanMessage("My pin is 4711."), AIMessage("Noted.")])
    store.close()
    with app_process(data, PHIRESIDE_MODEL="starter", HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0") as address:
        yield address


def test_a_model_is_downloaded_loaded_and_measured_and_everything_is_erased(
    app: str, tab: Callable[..., Page], shoot: Callable[[Page, str], None], hub: Hub
) -> None:
    page = tab(app)
    go_to(page, "Models")
    expect(page.get_by_text("No model is in memory.")).to_be_visible(timeout=WAIT)
    fits(page)
    shoot(page, "models-begin")
    button(page, "download-phi-3").click()
    expect(page.get_by_text("4 MB of 9 MB")).to_be_visible(timeout=2 * WAIT)
    go_to(page, "Memory")
    go_to(page, "Models")
    expect(page.get_by_text("4 MB of 9 MB")).to_be_visible(timeout=2 * WAIT)
    expect(button(page, "stop-phi-3")).to_be_visible(timeout=WAIT)
    fits(page)
    shoot(page, "models-download")
    hub.stalls_after = 0
    hub.ended.set()
    expect(button(page, "load-phi-3")).to_be_visible(timeout=2 * WAIT)
    button(page, "speed-starter").click()
    expect(page.get_by_text(re.compile("tokens read in"))).to_be_visible(timeout=3 * WAIT)
    expect(page.get_by_text("in memory", exact=True)).to_be_visible(timeout=WAIT)
    shoot(page, "models-measured")
    go_to(page, "Settings")
    expect(button(page, "erase-everything")).to_be_visible(timeout=2 * WAIT)
    shoot(page, "settings")
    button(page, "erase-everything").click()
    page.get_by_label("Type everything to confirm").fill("everything")
    page.get_by_label("Type everything to confirm").press("Enter")
    expect(page.get_by_text("Everything: erased.")).to_be_visible(timeout=2 * WAIT)
    expect(page.get_by_text("Pins")).to_have_count(0)
    fits(page)
    shoot(page, "settings-erased")
    go_to(page, "Models")
    expect(button(page, "download-phi-3")).to_be_visible(timeout=2 * WAIT)


def test_both_pages_can_be_read_on_a_phone_in_the_dark(
    app: str, tab: Callable[..., Page], shoot: Callable[[Page, str], None]
) -> None:
    page = tab(app, 390, "dark")
    go_to(page, "Models")
    expect(button(page, "load-starter")).to_be_visible(timeout=2 * WAIT)
    button(page, "load-starter").click()
    expect(page.get_by_text("Known before")).to_be_visible(timeout=2 * WAIT)
    fits(page)
    shoot(page, "models-390-dark")
    go_to(page, "Settings")
    expect(button(page, "erase-everything")).to_be_visible(timeout=2 * WAIT)
    page.get_by_text("How to change a setting").click()
    expect(page.get_by_text("Then start Phireside again.")).to_be_visible(timeout=WAIT)
    button(page, "erase-facts").click()
    expect(page.get_by_label("Type facts to confirm")).to_be_visible(timeout=WAIT)
    fits(page)
    shoot(page, "settings-390-dark")
