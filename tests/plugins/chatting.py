"""What tests of the chat page in AppTest share: what a person does there, and what is seen."""

from typing import Any

from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import TextArea


def say(app: AppTest, text: str) -> AppTest:
    """Type a message, and wait for the answer."""
    return shown_without_error(app.chat_input(key="typed").set_value(text).run())


def press(app: AppTest, key: str) -> AppTest:
    return shown_without_error(app.button(key=key).click().run())


def shown_without_error(app: AppTest) -> AppTest:
    assert not app.exception, app.exception
    assert not app.warning, app.warning
    return app


def failed_box(app: AppTest) -> TextArea:
    """The box with a message that got no answer."""
    (area,) = (area for area in app.text_area if area.key and area.key.startswith("failed-"))
    return area


def failed_button(app: AppTest, what: str) -> str:
    """The key of a button below that box: "send" or "cancel"."""
    return str(failed_box(app).key).removesuffix("text") + what


def bubbles(app: AppTest) -> list[str]:
    """The text of each message on the page."""
    return ["\n".join(part.value for part in bubble.markdown if part.type == "markdown") for bubble in app.chat_message]


def texts(element: Any) -> str:
    """All that is written in an element or on the page."""
    return "\n".join(str(part.value) for part in [*element.markdown, *element.caption, *element.code])


def chat_id(app: AppTest) -> str:
    value = app.query_params["chat"]
    return value if isinstance(value, str) else value[0]
