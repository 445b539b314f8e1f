"""Sampling made visible: the likeliest next tokens of a prompt, and what each stage of the sampling leaves of them."""

import streamlit as st

from phireside.chains import ExplainedSampling, explain_sampling
from phireside.models import PRESETS, load_chat_model, settings_of
from phireside.ui.bars import share, stage_bars, visible
from phireside.ui.charts import show_chart
from phireside.ui.choices import Choices
from phireside.ui.services import Services

TITLE = "Sampling made visible"
DESCRIPTION = "Which word may come next, and what temperature, top-k, top-p and min-p leave of the choice."
PROMPT, BEGUN = "Complete the sentence: I am driving a", "I am driving a"
SHOWN = 12  # tokens in the chart

SLIDERS: dict[str, tuple[str, float, float, float, str]] = {
    "top_k": ("Top-k", 0, 200, 1, "Keep so many of the likeliest tokens; 0 = all."),
    "top_p": ("Top-p", 0.05, 1.0, 0.01, "Keep the likeliest tokens that together make up this share."),
    "min_p": ("Min-p", 0.0, 0.5, 0.01, "Drop tokens less likely than this share of the likeliest one."),
    "temperature": ("Temperature", 0.0, 2.0, 0.05, "Below 1 the likely become likelier, above 1 less so."),
}
"""In the order in which the engine goes through them: label, lowest, highest, step, meaning."""


def show(services: Services) -> None:
    """Draw the view."""
    prompt = st.text_area("Prompt", PROMPT, key="sampling-prompt", height="content")
    answer = st.text_input(
        "Beginning of the answer",
        BEGUN,
        key="sampling-answer",
        help="The next token follows it. Empty = the first one.",
    )
    _presets()
    with st.container(key="sampling-sliders"):
        for row in (("top_k", "top_p"), ("min_p", "temperature")):
            for column, name in zip(st.columns(2), row, strict=True):
                with column:
                    _slider(name)
    model = load_chat_model(services.settings.model, services.settings)
    with st.spinner("Reading …"):
        found = explain_sampling(
            prompt,
            model=model,
            answer=answer,
            sampling={name: st.session_state[_key(name)] for name in SLIDERS},
            top=SHOWN,
        )
    _stages(found)


def _presets() -> None:
    """Buttons that move the sliders to the rows of the book's Table 6-1."""
    with st.container(horizontal=True, gap="xsmall"):
        for name, preset in PRESETS.items():
            numbers = settings_of(preset)
            chosen = all(st.session_state.get(_key(key), getattr(Choices(), key)) == numbers[key] for key in numbers)
            st.button(
                preset.title,
                key=f"sampling-{name}",
                help=preset.when,
                type="primary" if chosen else "secondary",
                on_click=_set,
                args=(numbers,),
            )


def _set(numbers: dict[str, float]) -> None:
    for name, value in numbers.items():
        st.session_state[_key(name)] = value


def _slider(name: str) -> None:
    label, low, high, step, note = SLIDERS[name]
    st.session_state.setdefault(_key(name), getattr(Choices(), name))
    st.slider(label, low, high, step=step, key=_key(name), help=note)


def _key(name: str) -> str:
    return f"sampling-{name}"


def _stages(found: ExplainedSampling) -> None:
    """The stages to choose from, a sentence about the chosen one, and the chart."""
    names = ["the model", *(stage.name for stage in found.stages)]
    chosen = st.pills("After", names, default=names[-1], format_func=str.capitalize, key=f"sampling-stage-{len(names)}")
    number = names.index(chosen or names[-1]) - 1
    st.markdown(_sentence(found, number))
    own = [each.probability for each in found.candidates]
    now = own if number < 0 else [each.after[number] for each in found.candidates]
    labels = [visible(each.text) for each in found.candidates]
    show_chart(stage_bars(labels, own, now), "The probability of each token, which the table below has, too")
    st.caption(
        f"The {len(own)} likeliest of {found.vocabulary:,} tokens. The pale bar is what the model itself gave; "
        f"␣ is a blank. {found.cost.prompt_tokens} tokens, {found.cost.evaluated_tokens} of them read anew."
    )
    with st.expander("All numbers"):
        st.dataframe(_rows(found), hide_index=True)


def _sentence(found: ExplainedSampling, number: int) -> str:
    """What a stage does here; number -1 = the model's own distribution."""
    if number < 0:
        top = share(found.candidates[0].probability)
        return f"The model's own probabilities: the likeliest token has {top}, the entropy is {found.entropy:.1f} bits."
    stage = found.stages[number]
    before = found.stages[number - 1] if number else None
    were, bits = (before.kept, before.entropy) if before else (found.vocabulary, found.entropy)
    if stage.kept == were:
        what = f"leaves all {stage.kept:,} tokens"
    else:
        what = f"leaves **{stage.kept:,} of {were:,} tokens**, {share(stage.share)} of the model's own probability"
    value = "" if stage.name == "greedy" else f" {stage.value:g}"
    return f"**{stage.name.capitalize()}{value}** {what}. Entropy: {bits:.1f} → {stage.entropy:.1f} bits."


def _rows(found: ExplainedSampling) -> list[dict[str, str]]:
    """The table with shares as people read them; what is not left says so."""
    return [
        {
            name.capitalize(): visible(value) if name == "token" else (share(value) if value else "removed")
            for name, value in row.items()
        }
        for row in found.table()
    ]
