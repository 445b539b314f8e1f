"""The row above the input box: which model answers, how, and what it is sent.

Draws, and saves what is chosen; decides nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st
from langchain_core.messages import BaseMessage

from phireside.errors import ModelDamagedError, PhiresideError
from phireside.memory import Conversation
from phireside.models import Catalog, ModelEntry
from phireside.models.load import is_remote
from phireside.models.sampling import PRESETS, settings_of
from phireside.ui import chat_memory, uses
from phireside.ui.choices import Choices, read_choices
from phireside.ui.safe_text import literal
from phireside.ui.services import Services

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
            help="Model and system prompt",
            key="pick-model",
        ):
            _model(services, conversation, choices)
        title = _title(choices.style)
        with st.popover(title, icon=":material/tune:", type="tertiary", help="How it writes", key="pick-style"):
            _style(services, conversation, choices)
        kind = choices.memory or services.settings.memory
        with st.popover(
            literal(chat_memory.title(kind)),
            icon=":material/history:",
            type="tertiary",
            help="Memory of this chat",
            key="pick-memory",
            on_change="rerun",  # a summary is written in the background: opening it shows the newest
        ):
            chat_memory.show(services, conversation, messages, kind, *_field("memory", services, conversation))
        uses.show(services.settings, conversation, choices, lambda changed: _keep(services, conversation, changed))
        if stop is not None:
            st.space("stretch")
            st.button("Stop", icon=":material/stop_circle:", key="stop", on_click=stop, shortcut="Esc")


def using(services: Services, name: str) -> str:
    """One line of Markdown: which model answers; for `auto` also how to get Phi-3. Damage is said, too."""
    if is_remote(name):
        return f"**{literal(name)}** answers, at {literal(services.settings.openai_base_url or 'OpenAI')}."
    try:
        entry = services.catalog.resolve(name)
    except PhiresideError as error:
        return f":material/warning: {literal(error.message)} {literal(error.hint)}"
    line = f"**{literal(entry.name)}** answers: {literal(entry.description)}"
    return f"{line}. {services.catalog.advice()}" if name == "auto" else line


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
    key, save = _field("model", services, conversation)
    st.selectbox(
        "Model", list(states), list(states).index(name), format_func=states.__getitem__, key=key, on_change=save
    )
    st.caption(using(services, name))
    key, save = _field("system", services, conversation)
    st.text_area(
        "System prompt",
        choices.system,
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
    return PRESETS[style].title if style in PRESETS else "Custom"


def _style(services: Services, conversation: Conversation | None, choices: Choices) -> None:
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
    sliders: list[tuple[str, str, float, float, float, str]] = [
        ("temperature", "Temperature", 0.0, 2.0, 0.05, "How freely it chooses; 0 = always the likeliest word."),
        ("top_p", "Top-p", 0.05, 1.0, 0.01, "Choose among the likeliest words that make up this share."),
        ("min_p", "Min-p", 0.0, 0.5, 0.01, "Leave out words less likely than this share of the likeliest one."),
        ("repeat_penalty", "Repetition penalty", 0.8, 1.6, 0.05, "Above 1: words already said become less likely."),
    ]
    for name, label, low, high, step, note in sliders:
        key, save = _field(name, services, conversation)
        value = min(max(getattr(choices, name), low), high)
        st.slider(label, low, high, value, step, key=key, on_change=save, help=note)
    left, middle, right = st.columns(3)
    key, save = _field("top_k", services, conversation)
    left.number_input("Top-k", 0, 200, choices.top_k, key=key, on_change=save, help="0 = all words.")
    key, save = _field("max_tokens", services, conversation)
    middle.number_input("Max tokens", 16, 32_768, choices.max_tokens, 64, key=key, on_change=save)
    key, save = _field("seed", services, conversation)
    right.number_input("Seed", 0, 2**32 - 1, choices.seed, key=key, on_change=save, placeholder="random")


def _field(name: str, services: Services, conversation: Conversation | None) -> tuple[str, Callable[[], None]]:
    """The key of the widget for one choice, its own for each conversation, and the callback that saves its value."""
    key = f"{name}-{conversation.id if conversation else NEW}"

    return key, lambda: _keep(services, conversation, {name: st.session_state[key]})


def _apply_style(services: Services, conversation: Conversation | None, name: str) -> None:
    """Keep the numbers of a preset, and move the sliders to them."""
    numbers = settings_of(name)
    _keep(services, conversation, numbers)
    for field, value in numbers.items():
        st.session_state[_field(field, services, conversation)[0]] = value


def _keep(services: Services, conversation: Conversation | None, changed: dict[str, Any]) -> None:
    if conversation is None:
        st.session_state["draft"] = current_choices(None).model_copy(update=changed)
    else:
        services.store.set_options(conversation.id, **changed)
