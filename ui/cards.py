"""Cards: things to choose from, two in a row where there is room. Knows none of them."""

from collections.abc import Callable, Mapping

import streamlit as st

from phireside.ui.safe_text import literal


def show_cards(
    titles: Mapping[str, str], kind: str, choose: Callable[[str], None], about: Callable[[str], object]
) -> None:
    """Draw a card for each thing.

    Args:
        titles: by name.
        kind: begins the keys of the buttons.
        choose: is called with the name of the one that was clicked.
        about: draws what stands below a title, by its name.
    """
    cards = list(titles.items())
    for first in range(0, len(cards), 2):
        for column, (name, title) in zip(st.columns(2), cards[first : first + 2], strict=False):
            with column.container(border=True, height="stretch", gap="xsmall", key=f"card-{name}"):
                st.button(
                    f"**{literal(title)}**",
                    key=f"{kind}-{name}",
                    type="tertiary",
                    icon=":material/arrow_forward:",
                    icon_position="right",
                    on_click=choose,
                    args=(name,),
                )
                about(name)
