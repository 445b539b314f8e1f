"""The row above the input box: which model answers, how, and what it is sent.

Draws, and saves what is chosen; decides nothing.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import streamlit as st
from langchain_core.messages import BaseMessage

from phireside.errors import ModelDamagedError, ModelNotFoundError, PhiresideError
from phireside.memory import MEMORIES, Conversation
from phireside.models import Catalog, ModelEntry
from phireside.models.load import is_remote
from phireside.models.sampling import PRESETS, settings_of
from phireside.ui import chat_memory, uses
from phireside.ui.choices import Choices, read_choices
from phireside.ui.messages import attempt
from phireside.ui.safe_text import literal
from phireside.ui.services import Services

MODELS = "models-page"  # of the session: the page that models are downloaded on
NEW = "new"  # stands for the id of a conversation that does not exist yet


def current_choices(conversation: Conversation | None) -> Choices:
    """The choices of the open conversation, or those made for the one that is about to begin."""
    if conversation is None:
        draft: Choices = st.session_state.get("draft", Choices())
        return draft
    return read_choices(conversation.options)


def show(
    services: Services,
    conversation: Conversation | None,
    messages: Sequence[BaseMessage],
    stop: Callable[[], None] | None,
) -> None:
    """Draw the buttons for model, style, memory, documents and tools, and Stop while there is something to stop."""
    choices = current_choices(conversation)
    name = choices.model or services.settings.model
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="composer"):
        with st.popover(
            literal(_short_name(services, name)),
            icon=":material/memory:",
            type="tertiary",
            key="pick-model",
        ):
            _model(services, conversation, choices)
        title = _title(choices.style)
        with st.popover(title, icon=":material/tune:", type="tertiary", key="pick-style"):
            _style(services, conversation, choices)
        kind = choices.memory or services.settings.memory
        with st.popover(
            literal(chat_memory.title(kind)),
            icon=":material/history:",
            type="tertiary",
            key="pick-memory",
            on_change="rerun",  # a summary is written in the background: opening it shows the newest
        ):
            field = _field("memory", kind if kind in MEMORIES else None, services, conversation)
            chat_memory.show(services, conversation, messages, kind, *field)
        uses.show(services.settings, conversation, choices, lambda changed: _keep(services, conversation, changed))
        if stop is not None:
            st.space("stretch")
            st.button("Stop", icon=":material/stop_circle:", key="stop", on_click=stop, shortcut="Esc")


def show_using(services: Services, name: str) -> None:
    """Draw which model answers, and the way to the Models page if a better one, or this one, is to be had there."""
    line, wanting = _using(services, name)
    st.caption(line)
    if wanting and (models := st.session_state.get(MODELS)):  # a page drawn without the menu has none
        st.page_link(models, label=wanting, icon=":material/download:")


def _using(services: Services, name: str) -> tuple[str, str]:
    """Which model answers, or what is wrong with it, as Markdown; and what is to be had on the Models page."""
    if is_remote(name):
        return f"**{literal(name)}** answers, at {literal(services.settings.openai_base_url or 'OpenAI')}.", ""
    try:
        entry = services.catalog.resolve(name)
    except ModelNotFoundError as error:
        return f":material/warning: {literal(error.message)}", "Get it on the Models page"
    except PhiresideError as error:
        return f":material/warning: {literal(error.message)} {literal(error.hint)}", ""
    better = (
        "Get Phi-3 on the Models page: it answers far better" if name == "auto" and services.catalog.advice() else ""
    )
    return f"**{literal(entry.name)}** answers: {literal(entry.description)}", better


def _short_name(services: Services, name: str) -> str:
    """What the button says: the model that `auto` stands for, and the file of a path."""
    try:
        return services.catalog.find(name).name if name == "auto" else name.rpartition("/")[2]
    except PhiresideError:
        return name


def _model(services: Services, conversation: Conversation | None, choices: Choices) -> None:
    states = {"auto": "auto · Phi-3 if it is here, else the starter"} | _states(services.catalog)
    name = choices.model or services.settings.model
    states.setdefault(name, name)
    key, save = _field("model", name, services, conversation)
    st.selectbox("Model", list(states), format_func=states.__getitem__, key=key, on_change=save)
    show_using(services, name)
    key, save = _field("system", choices.system, services, conversation)
    st.text_area(
        "System prompt",
        key=key,
        on_change=save,
        height=110,
        placeholder=services.settings.system_prompt or "What to keep to, e.g. Answer in one short paragraph.",
    )


@st.cache_data(ttl=15, show_spinner=False)
def _states(_catalog: Catalog) -> dict[str, str]:
    """The models by name, each with its state and size. Kept for a moment: it looks at many files."""
    return {entry.name: f"{entry.name} · {_state(_catalog, entry)}" for entry in _catalog.entries()}


def _state(catalog: Catalog, entry: ModelEntry) -> str:
    size = f", {file_size(entry.size)}" if entry.size else ""
    if entry.path is None:
        return f"not downloaded{size}"
    if entry.problem:
        return f"damaged{size}"
    if entry.origin == "found":  # not read before it is chosen: that may take seconds for each
        return f"found on this machine{size}"
    try:
        catalog.resolve(entry.name)
    except ModelDamagedError:
        return f"damaged{size}"
    except PhiresideError:
        return f"cannot be used{size}"
    return f"ready{size}"


def file_size(size: int) -> str:
    """Bytes as people write them: 93 MB, 2.4 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _title(style: str) -> str:
    return PRESETS[style].title if style in PRESETS else style.capitalize()


def _style(services: Services, conversation: Conversation | None, choices: Choices) -> None:
    st.markdown("**How it writes**")
    with st.container(horizontal=True, gap="xsmall"):
        for name, preset in PRESETS.items():
            st.button(
                preset.title,
                key=f"style-{name}",
                help=preset.when,
                type="primary" if name == choices.style else "secondary",
                on_click=_apply_style,
                args=(services, conversation, name),
            )
    if choices.base or choices.tools:
        st.caption("With documents or tools: the likeliest words and no penalty, where you choose nothing here.")
    sliders: list[tuple[str, str, float, float, float, str]] = [
        ("temperature", "Temperature", 0.0, 2.0, 0.05, "How freely it chooses; 0 = always the likeliest word."),
        ("top_p", "Top-p", 0.05, 1.0, 0.01, "Choose among the likeliest words that make up this share."),
        ("min_p", "Min-p", 0.0, 0.5, 0.01, "Leave out words less likely than this share of the likeliest one."),
        ("repeat_penalty", "Repetition penalty", 0.8, 1.6, 0.05, "Above 1: words already said become less likely."),
    ]
    for name, label, low, high, step, note in sliders:
        value = min(max(getattr(choices.in_use, name), low), high)
        key, save = _field(name, value, services, conversation)
        st.slider(label, low, high, step=step, key=key, on_change=save, help=note)
    left, middle, right = st.columns(3)
    key, save = _field("top_k", choices.top_k, services, conversation)
    left.number_input("Top-k", 0, 200, key=key, on_change=save, help="0 = all words.")
    key, save = _field("max_tokens", choices.max_tokens, services, conversation)
    middle.number_input("Max tokens", 16, 32_768, step=64, key=key, on_change=save)
    key, save = _field("seed", choices.seed, services, conversation)
    right.number_input("Seed", 0, 2**32 - 1, None, key=key, on_change=save, placeholder="random")


def _field(
    name: str, value: Any, services: Services, conversation: Conversation | None
) -> tuple[str, Callable[[], None]]:
    """The widget for one choice, which shows what is chosen now, be it by another tab or by a click on a style.

    Returns:
        Its key, of its own for each conversation, and the callback that saves its value.
    """
    key = f"{name}-{conversation.id if conversation else NEW}"
    if key not in st.session_state or st.session_state[key] != value:  # else what is being typed would be taken back
        st.session_state[key] = value
    return key, lambda: _keep(services, conversation, {name: st.session_state[key]})


def _apply_style(services: Services, conversation: Conversation | None, name: str) -> None:
    _keep(services, conversation, settings_of(name))


def _keep(services: Services, conversation: Conversation | None, changed: dict[str, Any]) -> None:
    if conversation is None:
        st.session_state["draft"] = current_choices(None).model_copy(update=changed)
    else:
        attempt(partial(services.store.set_options, conversation.id, **changed))
