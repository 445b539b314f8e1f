"""The evaluate page: how well documents are found, how good answers are, and the measurements that are kept.

Draws, and begins what is clicked; what is measured, and how, the rooms below know.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st

from phireside.chains.rag.runs import AnswersRun
from phireside.retrieval.evaluation import ROWS, RetrievalRun
from phireside.retrieval.evaluation.report import title
from phireside.retrieval.names import offered_bases
from phireside.runs import Kept
from phireside.ui import answer_results, evaluation_work, history, run_parts, search_results
from phireside.ui.background import Work
from phireside.ui.evaluation_work import ANSWERS, SEARCH, Ask, Judging, MakeSamples, Searching
from phireside.ui.measuring import current
from phireside.ui.messages import attempt, show_trouble
from phireside.ui.run_parts import pick_model
from phireside.ui.services import Services, services

PATIENCE = 0.5  # seconds from one drawing of what is at work to the next
WATCHING = "evaluation-watching"  # the kind of work that this session began, and whose result it is shown
KINDS = {SEARCH: "Search", ANSWERS: "Answers"}
WRITTEN, JUDGED, EARLIER = "Written by a model", "Judged by people", "Of an earlier run"
FILE, BASE = "From a file", "Of a base, now"
NO_BASE = "**There is no base of documents yet.** Make one on the page Knowledge, or with `phireside index`."
EASY = (
    "Questions of a model are easier than people's, for their words come from the passage: use them to compare "
    "settings on your documents. They are kept with the run, so that the next one can be asked the same."
)
JUDGES = "Small models are poor judges: compare their grades with your own on a few answers before you trust them."


def show() -> None:
    """Draw the forms, or the run that the address names."""
    parts = services()
    history.show(parts, None)
    watched = st.session_state.get(WATCHING)
    work = current(parts.settings, watched) if watched else None
    if work is not None and work.ended:
        del st.session_state[WATCHING]
        if work.result:
            run_parts.open_run(work.result)
    run_id = st.query_params.get("run")
    if run_id is None:
        _forms(parts)
    elif run_id.startswith(ANSWERS):
        answer_results.show(evaluation_work.judgements(parts.settings), run_id)
    else:
        search_results.show(evaluation_work.searches(parts.settings), run_id)


def _forms(parts: Services) -> None:
    st.title("Evaluate", anchor=False)
    kind = st.segmented_control(
        "What", list(KINDS), default=SEARCH, format_func=KINDS.__getitem__, key="evaluate-pick",
        label_visibility="collapsed", required=True, persist_state="session",
    )  # fmt: skip
    show_trouble()
    work = current(parts.settings, kind)
    if work is not None and not work.ended:
        run_parts.stop_button(work)
        _live(work)
    else:
        run_parts.ending(work)
        (_search_form if kind == SEARCH else _answers_form)(parts)
    st.header("Runs", anchor=False)
    if kind == SEARCH:
        run_parts.show_list(evaluation_work.searches(parts.settings), _search_line)
    else:
        run_parts.show_list(evaluation_work.judgements(parts.settings), _answers_line)


def _search_line(kept: Kept[RetrievalRun]) -> str:
    found = kept.run.found
    return f"{title(found)} · best nDCG {max(stage.mean('nDCG') for stage in found.stages):.3f}"


def _answers_line(kept: Kept[AnswersRun]) -> str:
    run = kept.run
    stopped = f" · stopped after {len(run.report.judged)}" if len(run.report.judged) < run.total else ""
    return f"judged by {run.judge} · {len(run.unscored)} unscored{stopped}"


@st.fragment(run_every=PATIENCE)
def _live(work: Work) -> None:
    """How far it is."""
    if work.ended:
        st.rerun()
    run_parts.follow(work)
    if isinstance(work, evaluation_work.JudgingWork) and work.report.judged:
        answer_results.show_means(work.report)


def _button(label: str, kind: str, ready: bool, action: Callable[..., object], *args: Any) -> None:
    """Begin some work. (No callback: it would be given what stood in the fields when they were drawn.)"""
    icon = ":material/play_arrow:"
    if st.button(label, key=f"begin-{kind}", icon=icon, type="primary", disabled=not ready):
        if attempt(action, *args):
            st.session_state[WATCHING] = kind
        st.rerun()


# ---- search ------------------------------------------------------------------------------------------------------


def _search_form(parts: Services) -> None:
    names = offered_bases(parts.settings.bases_dir)
    if not names:
        st.markdown(NO_BASE)
        return
    base = st.selectbox("Base", names, key="search-base", persist_state="session")
    ask = _questions(parts, base)
    with st.expander("How it is measured", icon=":material/tune:"):
        k = st.number_input("Hits that count", 1, 1000, 10, key="search-k", persist_state="session")
        reranker = ""
        if parts.admin:  # it may be a folder of this machine
            reranker = st.text_input(
                "Reranker", key="search-reranker", placeholder="none",
                help="A cross-encoder's name or folder, late:MODEL, or chat:MODEL. It adds a stage.",
            )  # fmt: skip
        rows = [row for row in ROWS if row != "rerank"]
        stages = st.pills("Stages", rows, selection_mode="multi", default=rows, key="search-stages")
    chosen = (*(row for row in rows if row in stages), *(["rerank"] if reranker else []))
    how = Searching(base, k, chosen, reranker)
    settings = parts.settings
    kept = evaluation_work.searches(settings)
    _button("Evaluate", SEARCH, ask is not None, evaluation_work.begin_search, settings, how, ask, kept)


def _questions(parts: Services, base: str) -> Ask | None:
    """The questions to ask; None as long as they are not chosen."""
    earlier = {kept.id: kept for kept in evaluation_work.searches(parts.settings).all()[0] if kept.run.base == base}
    kinds = [WRITTEN, JUDGED, *([EARLIER] if earlier else [])]
    kind = st.radio("Questions", kinds, key="search-questions", horizontal=True, persist_state="session")
    if kind == EARLIER:
        chosen = st.selectbox(
            "Run", list(earlier), key="search-earlier",
            format_func=lambda each: f"{run_parts.moment(earlier[each].when)} · {title(earlier[each].run.found)}",
        )  # fmt: skip
        return evaluation_work.again(earlier[chosen].run) if chosen else None
    if kind == JUDGED:
        return _sent()
    left, right = st.columns([3, 2])
    with left:
        model = pick_model(parts, "Model that writes", "search-model", {"": _own(parts)})
    with right:
        count = st.number_input("How many", 1, 1000, 30, key="search-count", persist_state="session")
    st.caption(EASY)
    return evaluation_work.written(parts.settings, parts.catalog, model, count)


def _sent() -> Ask | None:
    left, right = st.columns(2)
    queries = left.file_uploader(
        "queries.jsonl", ["jsonl", "json"], key="search-queries",
        help='A line for each question: {"_id": "q1", "text": "how thick must ice be"}',
    )  # fmt: skip
    qrels = right.file_uploader(
        "qrels/test.tsv", ["tsv", "txt", "csv"], key="search-qrels",
        help="Lines of question, document and score, with tabs between them. A document is named by its source, or "
        "by its file name.",
    )  # fmt: skip
    if queries is None or qrels is None:
        st.caption("The form of BEIR: what is asked, and which documents answer it.")
        return None
    return evaluation_work.sent(queries.getvalue(), qrels.getvalue())


def _own(parts: Services) -> str:
    return f"The settings' ({parts.settings.model})"


# ---- answers -----------------------------------------------------------------------------------------------------


def _answers_form(parts: Services) -> None:
    names = offered_bases(parts.settings.bases_dir)
    origin = st.radio(
        "Answers", [FILE, *([BASE] if names else [])], key="answers-origin", horizontal=True, persist_state="session"
    )
    judge = pick_model(parts, "Judge", "answers-judge", {"": _own(parts)})
    st.caption(JUDGES)
    by = st.toggle(
        "Compare questions by embeddings", key="answers-embeddings", persist_state="session",
        help="For relevance: as Ragas has it. Otherwise the judge says whether two questions ask the same.",
    )  # fmt: skip
    source, answering, samples = _from_file() if origin == FILE else _from_base(parts, names)
    how = Judging(source, judge, by, answering)
    kept = evaluation_work.judgements(parts.settings)
    _button(
        "Judge", ANSWERS, samples is not None,
        evaluation_work.begin_judging, parts.settings, parts.catalog, how, samples, kept,
    )  # fmt: skip


def _from_file() -> tuple[str, str, MakeSamples | None]:
    """Where answers are from, who answered, and the answers; None as long as there is no file."""
    file = st.file_uploader(
        "Answers", ["jsonl", "json"], key="answers-file",
        help='A line for each: {"question": "…", "answer": "… [1]", "passages": ["…"], "known": ["…"]}. '
        "Passages are what [1] names; known are right answers. Both may be left out.",
    )  # fmt: skip
    if file is None:
        return "", "", None
    return file.name, "", evaluation_work.answers_from(file.getvalue().decode("utf-8", "replace"))


def _from_base(parts: Services, names: list[str]) -> tuple[str, str, MakeSamples | None]:
    """The same for answers that are to be given now."""
    left, right = st.columns(2)
    base = left.selectbox("Base", names, key="answers-base", persist_state="session")
    with right:
        model = pick_model(parts, "Model that answers", "answers-model", {"": _own(parts)})
    text = st.text_area("Questions, one on a line", key="answers-questions", height=160, persist_state="session")
    questions = [line.strip() for line in text.splitlines() if line.strip()]
    name = model or parts.settings.model
    if not questions:
        return base, name, None
    return base, name, evaluation_work.answers_of(parts.settings, parts.catalog, base, questions, name)
