"""Scenarios and Evaluate in a real Chromium: a scripted scenario is run and read, evaluations are looked at."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from browsing import WAIT, app_process, button, fits, go_to
from hashed import HashedEmbeddings
from playwright.sync_api import Page, expect

from phireside.chains.rag import AnswersRun, Judged, Report, Sample, Scores, answers_runs
from phireside.retrieval import KnowledgeBase
from phireside.retrieval.evaluation import Collection, RetrievalRun, base_of, evaluate, retrieval_runs

pytestmark = pytest.mark.browser

LAKE = Collection(
    {
        "fire.md": ("Fire", "A campfire needs dry wood and air."),
        "ice.md": ("Ice", "Ice carries a person at ten centimetres of thickness."),
        "boat.md": ("", "A boat on the lake needs two oars."),
        "rope.md": ("", "A rope on the boat is dry, if it is quiet."),
    },
    {"q1": "dry wood for a campfire", "q2": "what a boat needs", "q3": "is thick ice quiet"},
    {"q1": {"fire.md": 1}, "q2": {"boat.md": 2, "rope.md": 1}, "q3": {"ice.md": 1, "rope.md": 1}},
)


class App(NamedTuple):
    """The app, and the ids of the runs that are kept in its folder: of search the later one, and of answers."""

    address: str
    search: str
    answers: str


def seeded(data: Path, work: Path) -> tuple[str, str]:
    """A base, two evaluations of a search by two models, and judged answers."""
    KnowledgeBase.named("lake", data / "bases", HashedEmbeddings(4), create=True).close()
    runs, kept = retrieval_runs(data / "runs"), []
    for size in (4, 64):
        base = base_of(LAKE, work / str(size), HashedEmbeddings(size))
        found = evaluate(base, LAKE.queries, LAKE.judgments, k=2)
        base.close()
        run = RetrievalRun("lake", f"hashed-{size}", found, LAKE.queries, LAKE.judgments, "source")
        kept.append(runs.save(f"lake: {size}", run))
    samples = [
        Sample("How long?", "Three months. [1]"),
        Sample("How much?", "I don't know."),
        Sample("Dogs?", "Yes. [2]"),
    ]
    scores = [Scores(1.0, 0.75, 1.0, 0.5, 1.0, 0.9, 1.0, 1.0), Scores(exact_match=0.0, f1=0.0), Scores(0.5, 0.5)]
    judged = [Judged(sample, each) for sample, each in zip(samples, scores, strict=True)]
    report = Report((*judged[:2], replace(judged[2], scores=Scores(), problem="EngineError: it was too long")))
    answers = AnswersRun("answers.jsonl", "starter", (1, 2, 4), report, ((3, "It is no JSON"),), 3)
    return kept[-1].id, answers_runs(data / "runs").save("answers.jsonl: 3 answers", answers).id


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    data = tmp_path_factory.mktemp("measuring")
    search, answers = seeded(data, tmp_path_factory.mktemp("bases"))
    with app_process(data, PHIRESIDE_MODEL="starter") as address:
        yield App(address, search, answers)


def pick(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option).first.click()


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_a_scripted_run_is_read_step_by_step_and_evaluations_are_compared(
    app: App, tab: Callable[..., Page], shoot: Callable[[Page, str], None], width: int, theme: str
) -> None:
    page = tab(app.address, width, theme)
    go_to(page, "Scenarios")
    expect(page.get_by_text("Agentic RAG")).to_be_visible(timeout=WAIT)
    pick(page, "Model", "scripted")
    fits(page)
    shoot(page, f"scenarios-{width}-{theme}")
    for name in ("Arithmetic", "A tool fails"):
        page.get_by_test_id("stCheckbox").filter(has_text=name).click()
    expect(button(page, "run-scenarios")).to_contain_text("Run the 2 chosen", timeout=WAIT)
    button(page, "run-scenarios").click()
    expect(page.get_by_role("heading", name="2 of 2 passed")).to_be_visible(timeout=4 * WAIT)
    expect(page.get_by_test_id("stDataFrame")).to_be_visible(timeout=WAIT)
    fits(page)
    shoot(page, f"scenarios-run-{width}-{theme}")
    page.get_by_text("Step by step").scroll_into_view_if_needed()
    shoot(page, f"scenarios-steps-{width}-{theme}")
    go_to(page, "Evaluate")
    shoot(page, f"evaluate-{width}-{theme}")
    button(page, f"run-{app.search}").click()
    expect(page.get_by_role("heading", name="Search in lake")).to_be_visible(timeout=WAIT)
    expect(page.get_by_test_id("stVegaLiteChart")).to_have_count(2, timeout=WAIT)
    fits(page)
    shoot(page, f"evaluate-search-{width}-{theme}")
    pick(page, "Compare with", "lake: 4")
    expect(page.get_by_text("the same in both")).to_be_visible(timeout=WAIT)
    fits(page)
    shoot(page, f"evaluate-compared-{width}-{theme}")
    button(page, "all-runs").click()
    page.get_by_role("radio", name="Answers").click()
    button(page, f"run-{app.answers}").click()
    expect(page.get_by_role("heading", name="Answers of answers.jsonl")).to_be_visible(timeout=2 * WAIT)
    expect(page.get_by_text("2 unscored")).to_be_visible(timeout=WAIT)
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible(timeout=WAIT)
    fits(page)
    shoot(page, f"evaluate-answers-{width}-{theme}")
