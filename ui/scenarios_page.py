"""The scenarios page: which there are, running them and watching that, and the runs that are kept.

Draws, and begins what is clicked; what a scenario is and how one is run, its room knows.
"""

import streamlit as st

from phireside.agents.scenarios import Case, ScenarioRun, Watched, add_file, listed
from phireside.errors import PhiresideError
from phireside.runs import Kept
from phireside.ui import history, run_parts, scenario_results, scenario_work
from phireside.ui.messages import attempt, show_error, show_trouble
from phireside.ui.run_parts import pick_model
from phireside.ui.safe_text import literal
from phireside.ui.scenario_work import ScenarioWork
from phireside.ui.services import Services, services
from phireside.ui.transcript import show_lines

PATIENCE = 0.5  # seconds from one drawing of what runs to the next
SCRIPTED = "scripted"
WATCHING = "scenarios-watching"  # this session began the run, and is shown its result
STATES = {
    "waiting": ":material/schedule:",
    "running": ":material/pending:",
    "passed": ":green[:material/check_circle:]",
    "failed": ":red[:material/cancel:]",
}
MEANING = (
    "A scenario is a conversation with an agent, written in a file, with what is expected of it: an answer, a call of "
    "a tool, a number of steps. Run them after each change of a model, a prompt or a tool."
)
PASSES = (
    "*Passes on* names the models on which a scenario is known to pass. On another model it may well fail: that is "
    "shown as *failed, as expected*. *scripted* is no model: it says what the file's script says, and shows that the "
    "scenario can be passed."
)


def show() -> None:
    """Draw the list, or the run that the address names."""
    parts = services()
    history.show(parts, None)
    runs = scenario_work.runs(parts.settings)
    work = scenario_work.work(parts.settings)
    if work is not None and work.ended and st.session_state.pop(WATCHING, False) and work.result:
        run_parts.open_run(work.result)
    run_id = st.query_params.get("run")
    if run_id is not None:
        scenario_results.show(parts, runs, run_id, begin)
        return
    st.title("Scenarios", anchor=False)
    st.markdown(MEANING)
    show_trouble()
    if work is not None and not work.ended:
        run_parts.stop_button(work)
        _live(work)
        return
    run_parts.ending(work)
    choose, earlier = st.tabs(["Run", "Earlier runs"])
    with choose:
        _choose(parts)
    with earlier:
        run_parts.show_list(runs, _line)


def _line(kept: Kept[ScenarioRun]) -> str:
    run = kept.run
    stopped = " · stopped" if run.left else ""
    return f"{run.passed} of {len(run.outcomes)} passed · {run.seconds:.0f} s{stopped}"


# ---- what there is -----------------------------------------------------------------------------------------------


def _choose(parts: Services) -> None:
    """Model, seeds, the button, and the scenarios to choose from."""
    cases, problems = listed(scenario_work.folders(parts.settings))
    left, right = st.columns([3, 2])
    with left:
        own = {"": "Each scenario's own", SCRIPTED: "scripted: what the files say"}
        model = pick_model(parts, "Model", "scenarios-model", own)
    with right:
        seeds = st.number_input(
            "Runs of each", 1, 100, None, key="scenarios-seeds", placeholder="as the file says",
            persist_state="session",
            help="With several, each has a seed of its own, and the share that passes has an interval.",
        )  # fmt: skip
    st.caption(PASSES)
    buttons = st.container()
    chosen = _list(parts, cases)
    with buttons:
        some = f"Run the {len(chosen)} chosen" if chosen else f"Run all {len(cases)}"
        icon = ":material/play_arrow:"
        # No callback: it would be given what stood in the fields when they were drawn.
        if st.button(some, key="run-scenarios", icon=icon, type="primary", disabled=not cases):
            begin(parts, chosen or cases, model, seeds)
            st.rerun()
    for problem in problems:
        show_error(problem)
    if parts.admin:  # a scenario may name files of this machine
        _add(parts)


def begin(parts: Services, cases: list[Case], model: str, seeds: int | None) -> None:
    """Run scenarios, and go to where that is watched."""
    settings = parts.settings
    kept = scenario_work.runs(settings)
    if attempt(scenario_work.begin_scenarios, settings, parts.catalog, cases, model, seeds, kept):
        st.session_state[WATCHING] = True
        run_parts.open_run(None)


def _list(parts: Services, cases: list[Case]) -> list[Case]:
    """The scenarios, to be chosen; those that are."""
    own = parts.settings.scenarios_dir
    chosen = []
    with st.container(gap=None, key="scenarios"):
        for case in cases:
            with st.container(gap=None, key=f"fact-{case.name}"):
                if st.checkbox(literal(case.name), key=f"choose-{case.name}", persist_state="session"):
                    chosen.append(case)
                st.caption(_about(case, own in case.path.parents))
    return chosen


def _about(case: Case, own: bool) -> str:
    passes = case.scenario.passes_on
    parts = [literal(case.scenario.description)] if case.scenario.description else []
    parts += [f"passes on {literal(', '.join(passes))}"] if passes else []
    return " · ".join([*parts, f"yours: {literal(case.path.name)}"] if own else parts)


def _add(parts: Services) -> None:
    """Files of one's own."""
    folder = parts.settings.scenarios_dir
    with st.expander("Your own scenarios", icon=":material/upload_file:"):
        key = f"scenarios-add-{st.session_state.get('scenarios-added', 0)}"
        st.file_uploader(
            "Add files",
            ["yaml", "yml"],
            accept_multiple_files=True,
            key=key,
            on_change=attempt,
            args=(_added, parts, key),
        )
        st.caption(
            f"They are kept in {literal(str(folder))}: put files there yourself, or change them. A chat's menu saves a "
            "conversation as one."
        )


def _added(parts: Services, key: str) -> None:
    """Keep what was sent; what is wrong is said, and the other files are kept."""
    problems = []
    for file in st.session_state[key] or []:
        try:
            add_file(parts.settings.scenarios_dir, file.name, file.getvalue())
        except PhiresideError as error:
            problems.append(error)
    if problems:
        message = "\n".join(error.message for error in problems)
        raise PhiresideError(message, hint=problems[0].hint)
    st.session_state["scenarios-added"] = st.session_state.get("scenarios-added", 0) + 1


# ---- what runs ---------------------------------------------------------------------------------------------------


@st.fragment(run_every=PATIENCE)
def _live(work: ScenarioWork) -> None:
    """What runs now: how far it is, a line for each run, and one of them step by step."""
    if work.ended:
        st.rerun()
    watched = work.live.watched()
    ended = [each for each in watched if each.run is not None]
    failed = sum(each.state == "failed" for each in watched)
    text = f"{len(ended)} of {len(watched)} runs have ended, {failed} failed"
    if work.live.stopping:
        text += ". Stopping: the steps that are under way end first"
    st.progress(len(ended) / len(watched), text=text)
    several = len({each.seed for each in watched}) > 1
    with st.container(height=260, gap="xsmall", key="scenarios-now"):
        for each in watched:
            st.markdown(f"{STATES[each.state]} {literal(_name(each, several))}")
    begun = [each for each in watched if each.lines]
    if not begun:
        return
    running = next((at for at, each in enumerate(begun) if each.state == "running"), len(begun) - 1)
    names = [_name(each, several) for each in begun]
    name = st.selectbox("Watch", ["", *names], format_func=lambda each: each or "What runs now", key="scenarios-watch")
    shown = begun[names.index(name)] if name in names else begun[running]
    with st.container(height=320, gap="xsmall", key="scenarios-steps"):
        st.markdown(f"**{literal(_name(shown, several))}**")
        show_lines(shown.lines)


def _name(watched: Watched, several: bool) -> str:
    return f"{watched.name} · seed {watched.seed}" if several else watched.name
