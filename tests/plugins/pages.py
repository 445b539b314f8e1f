"""Pages in AppTest: opened one at a time, clicked, and read. Knows none of them."""

import re
from typing import Any

from streamlit.testing.v1 import AppTest


def open_page(name: str, **address: str) -> AppTest:
    """A page in a browser session of its own, without the menu.

    Args:
        name: of its module in `phireside.ui`.
        address: the query parameters.
    """
    app = AppTest.from_function(_page, default_timeout=60, kwargs={"name": name})
    app.query_params |= address
    return fine(app.run())


def _page(name: str) -> None:
    """What main.py does around each page. AppTest runs it as a script: it can use nothing of this module."""
    from importlib import import_module

    from phireside.errors import PhiresideError
    from phireside.ui.messages import show_error

    try:
        import_module(f"phireside.ui.{name}").show()
    except PhiresideError as error:
        show_error(error)


def fine(app: AppTest) -> AppTest:
    """The same app, if nothing was raised."""
    assert not app.exception, app.exception
    return app


def press(app: AppTest, key: str) -> AppTest:
    """Click a button."""
    return fine(app.button(key=key).click().run())


def keys(app: AppTest) -> set[str]:
    """The buttons of the page itself."""
    return {button.key for button in app.main.button if button.key}


def texts(app: AppTest) -> str:
    """Markdown and captions as they are written."""
    return "\n".join(element.value for kind in (app.main.markdown, app.main.caption) for element in kind)


def said(app: AppTest) -> str:
    """All texts of the page, errors and warnings too, without the marks that escape."""
    elements: list[Any] = [*app.main.markdown, *app.main.caption, *app.main.error, *app.main.warning]
    return re.sub(r"\\(?=[^\w\s])", "", "\n".join(element.value for element in elements))
