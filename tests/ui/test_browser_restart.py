"""Row 28, as a person sees it: the server is killed while it writes, and started again on the same data."""

import re

import pytest
from browsing import WAIT, answered, app_process, say
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.real]


def test_after_a_kill_and_a_restart_the_conversation_is_there_once_and_goes_on(tab, starter_path, tmp_path):
    with app_process(tmp_path) as address:
        page = tab(address)
        say(page, "Name one colour.")
        text = answered(page)
        say(page, "Write a very long story about a lighthouse keeper, with many chapters.")
        expect(page.get_by_text("▍")).to_be_visible(timeout=WAIT)
        where = page.url.removeprefix(address)
        page.close()  # its console would be full of lost connections
    with app_process(tmp_path) as address:  # the first one was killed
        page = tab(f"{address}{where}")
        assert answered(page) == text
        asked = page.get_by_label("Chat message from user")
        expect(asked).to_have_text(
            [re.compile("Name one colour")], timeout=WAIT
        )  # neither the question nor half a story
        say(page, "And another one.")
        answered(page)
        page.reload()
        expect(asked).to_have_count(2, timeout=WAIT)
        expect(page.get_by_label("Chat message from assistant")).to_have_count(2)
