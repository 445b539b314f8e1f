"""Every page in a real Chromium, as people use it who see little or use no mouse: no serious fault that axe-core finds,
nothing wider than a phone, the menu by keyboard, and no error in the console. No model is loaded.

Charts and tables are drawn on canvases, which axe-core cannot see into.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from browsing import FADED, WAIT, app_process, button, fits, sidebar_is_closed
from hashed import HashedEmbeddings
from langchain_core.messages import AIMessage, HumanMessage
from playwright.sync_api import Page, expect

from phireside.memory import ConversationStore
from phireside.retrieval import KnowledgeBase
from phireside.settings import Settings

pytestmark = pytest.mark.browser

LOOKS = [(1440, "light"), (390, "dark")]
KILN = "The kiln of Ness was built in 1884. It burns oak and beech. Visitors may come on Sundays."
ANSWER = """It burns **oak**. [1]

| Wood | Hardness |
|------|----------|
| oak  | 3.7      |

```python
def burns(wood: str = 'oak') -> bool:  # always
    return wood in {"oak", "beech"} and not 1 > 2
```

See <https://kilns.example/>, and `kiln.txt`.
"""
PASSAGES = [{"number": 1, "text": KILN, "source": "upload:1", "title": "kiln.txt", "place": "page 3"}]
KEPT = {
    "steps": [{"kind": "found", "queries": ["What does it burn?"], "passages": PASSAGES, "seconds": 0.2}],
    "passages": PASSAGES,
    "claims": [
        {"text": "It burns oak.", "cited": [1], "verdict": "supported", "score": 0.9},
        {"text": "It is made of gold.", "cited": [1], "verdict": "none", "score": 0.1},
    ],
}
FACTS = {"model_name": "x", "finish_reason": "stop", "left_out": 2, "context": {"system": 40, "answer": 60, "left": 9}}


class App(NamedTuple):
    """The app, and a conversation in it."""

    address: str
    chat: str

    def at(self, place: str) -> str:
        return f"{self.address}/{place.format(chat=self.chat)}"


def seeded(data: Path) -> str:
    """An answer from documents, a fact that is known, and a base; the conversation's id."""
    data.mkdir(parents=True, exist_ok=True)
    store = ConversationStore(Settings(data_dir=data).conversations_url)
    opened = store.create("The kiln of Ness, and what it burned in all the years since it was built").id
    answer = AIMessage(ANSWER, additional_kwargs={"phireside": KEPT}, response_metadata=FACTS)
    store.save_turn(opened, [HumanMessage("What does it burn?"), answer])
    store.facts.switch(True)
    store.facts.add(opened, 0, ["I like kilns."])
    store.close()
    base = KnowledgeBase.named("kilns", data / "bases", HashedEmbeddings(), create=True)
    base.add_text(KILN, source="kiln.txt", title="The kiln")
    base.close()
    return opened


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    data = tmp_path_factory.mktemp("access")
    chat = seeded(data)
    with app_process(data, PHIRESIDE_MODEL="openai:x", PHIRESIDE_OPENAI_BASE_URL="http://127.0.0.1:9/v1") as address:
        yield App(address, chat)


def look(page: Page, width: int, theme: Any) -> None:
    """Another window, and another theme of the system's: the page follows both."""
    page.mouse.move(0, 0)
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 900})
    expect(page.locator(".stApp[data-test-script-state='notRunning']")).to_be_visible(timeout=WAIT)
    page.wait_for_timeout(FADED)


def faults(page: Page) -> list[str]:
    """What axe-core finds serious or critical, each with the first part of the page that has it."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    run = "axe.run(document, {resultTypes: ['violations']}).then(result => result.violations)"
    found: list[dict[str, Any]] = page.evaluate(run)
    return [
        f"{fault['id']}: {fault['help']}: {fault['nodes'][0]['html'][:200]} {fault['nodes'][0]['failureSummary'][:300]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


def popover(page: Page, key: str) -> None:
    button(page, key).click()
    expect(page.get_by_test_id("stPopoverBody")).to_be_visible(timeout=WAIT)


def segment(page: Page, name: str) -> None:
    page.get_by_test_id("stButtonGroup").get_by_text(name, exact=True).click()


def expander(page: Page, name: str) -> None:
    page.get_by_test_id("stExpander").filter(has_text=name).locator("summary").click()


# The address of a page, what is to be seen there, and what is opened on it.
PLACES: dict[str, tuple[str, str, Callable[[Page], object] | None]] = {
    "new": ("", "What shall we talk about?", lambda page: popover(page, "pick-style")),
    "chat": ("?chat={chat}", "A sentence was taken back", None),
    "source": ("?chat={chat}", "A sentence was taken back", lambda page: popover(page, "source-of-1-1")),
    "copy": ("?chat={chat}", "A sentence was taken back", lambda page: popover(page, "copy-1")),
    "edit": ("?chat={chat}", "A sentence was taken back", lambda page: button(page, "edit-0").click()),
    "knowledge": ("knowledge", "A base holds documents", None),
    "base": ("knowledge?base=kilns", "1 document", None),
    "add": ("knowledge?base=kilns", "1 document", lambda page: segment(page, "Add")),
    "memory": ("memory", "I like kilns.", lambda page: button(page, "forget-").click()),
    "chains": ("chains", "Sampling", None),
    "chain": ("chains?chain=story_chain", "Prompts", lambda page: expander(page, "Prompts")),
    "scenarios": ("scenarios", "Agentic RAG", lambda page: expander(page, "Your own")),
    "evaluate": ("evaluate", "Questions", None),
    "answers": ("evaluate", "Questions", lambda page: segment(page, "Answers")),
    "models": ("models", "No model is in memory.", None),
    "settings": ("settings", "Everything", lambda page: button(page, "erase-facts").click()),
}


def test_no_page_has_a_serious_fault_or_is_wider_than_the_window(app, tab, shoot):
    page = tab(app.at(""))
    found = {}
    for name, (place, seen, open_more) in PLACES.items():
        page.goto(app.at(place))
        expect(page.get_by_text(seen).first).to_be_visible(timeout=2 * WAIT)
        if open_more:
            open_more(page)
        for width, theme in LOOKS:
            look(page, width, theme)
            shoot(page, f"access-{name}-{width}-{theme}")
            fits(page)
            if "chat" not in place:  # which begins with what was said
                assert page.locator("h1").count() == 1
            found[f"{name}-{width}-{theme}"] = faults(page)
    assert {where: all_there for where, all_there in found.items() if all_there} == {}


@pytest.mark.parametrize(("choice", "address"), [("open-", "chat="), ("new", "/")])
def test_on_a_phone_a_choice_closes_the_sidebar(app, tab, choice, address):
    page = tab(app.at(""), 390)
    page.get_by_test_id("stExpandSidebarButton").click()
    button(page, choice).click()
    sidebar_is_closed(page)
    page.wait_for_url(f"**{address}*")


def test_a_wide_window_keeps_its_sidebar_open(app, tab):
    page = tab(app.at(""))
    button(page, "open-").click()
    page.wait_for_url("**chat=*")
    expect(page.get_by_test_id("stSidebar")).to_have_attribute("data-collapsed", "false")


def test_a_text_is_copied_without_hovering_over_it(app, tab):
    page = tab(app.at("?chat={chat}"))
    popover(page, "copy-1")
    expect(page.get_by_test_id("stPopoverBody").get_by_role("button", name="Copy to clipboard")).to_be_visible()


def focused(page: Page) -> str:
    """What has the focus: the address of a link, or the label of something else."""
    script = "() => { const e = document.activeElement; return e.getAttribute('href') || e.ariaLabel || e.innerText }"
    return str(page.evaluate(script))


def tab_to(page: Page, what: str) -> list[str]:
    """Press Tab until something has the focus; all that had it, which has to be seen."""
    reached: list[str] = []
    while not reached or not reached[-1].endswith(what):
        assert len(reached) < 30, reached
        page.keyboard.press("Tab")
        reached.append(focused(page))
        assert page.evaluate("document.activeElement.getBoundingClientRect().right > 0"), reached
    return reached


@pytest.mark.parametrize(("width", "theme"), LOOKS)
def test_every_page_is_reached_by_keyboard(app, tab, width, theme):
    page = tab(app.at(""), width, theme)
    if width < 500:
        tab_to(page, "Expand sidebar")
        page.keyboard.press("Enter")
        expect(page.get_by_test_id("stSidebarNavLink").last).to_be_visible(timeout=WAIT)
    menu = page.get_by_test_id("stSidebarNavLink" if width < 500 else "stTopNavLink")
    addresses = menu.evaluate_all("links => links.map(link => link.href)")
    assert len(addresses) == 8
    reached = tab_to(page, "/settings")
    assert [each for each in reached if each in addresses] == addresses
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Settings", exact=True)).to_be_visible(timeout=2 * WAIT)


def test_a_new_chat_is_begun_by_keyboard(app, tab):
    page = tab(app.at("?chat={chat}"))
    expect(page.get_by_text("A sentence was taken back")).to_be_visible(timeout=WAIT)
    page.keyboard.press("Control+Shift+O")
    expect(page.get_by_text("What shall we talk about?")).to_be_visible(timeout=WAIT)
    assert "chat=" not in page.url
