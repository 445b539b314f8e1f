"""Two people log in at a provider of the tests' own, in a real Chromium, and do not see each other's conversations."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from browsing import WAIT, answered, button, fits, patient, say, wait_for
from oidc import SECRET, provider
from playwright.sync_api import Browser, Page, expect
from ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.real]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, starter_path: Path) -> Iterator[tuple[str, Path]]:
    """`phireside ui` with a login; gives its address and its folder. Ana is an admin."""
    folder = tmp_path_factory.mktemp("login")
    port = free_port()
    with provider() as login, (folder / "log.txt").open("ab") as log:
        (folder / "secrets.toml").write_text(login.secrets())
        variables = {name: value for name, value in os.environ.items() if name != "PHIRESIDE_API_KEY"} | {
            "PHIRESIDE_DATA_DIR": str(folder / "data"),
            "PHIRESIDE_LOGIN__SECRETS": str(folder / "secrets.toml"),
            "PHIRESIDE_LOGIN__ADMINS": '["ana@example.org"]',
        }
        command = [Path(sys.executable).with_name("phireside"), "ui", "--no-browser", "--port", str(port)]
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(f"{address}/_stcore/health", process, folder / "log.txt")
            yield address, folder
        finally:
            process.terminate()
            process.wait()


@pytest.fixture
def enter(browser: Browser, app: tuple[str, Path]) -> Iterator[Callable[..., Page]]:
    """`enter(subject)` logs somebody in, in a browser of their own; without one it stops at the login page."""
    opened, errors = [], []

    def open_page(subject: str = "", width: int = 1440) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 844})
        opened.append(context)
        page = patient(context.new_page())
        page.set_default_timeout(WAIT)
        page.on(
            "console",
            lambda message: errors.append(f"{message.text} {message.location}") if message.type == "error" else None,
        )
        page.goto(app[0])
        expect(button(page, "log-in")).to_be_visible()
        if subject:
            log_in(page, subject)
        return page

    yield open_page
    for context in opened:
        context.close()
    assert errors == []


def log_in(page: Page, subject: str) -> None:
    button(page, "log-in").click()
    page.locator(f"#{subject}").click()
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_visible(timeout=WAIT)


def test_two_people_log_in_and_see_only_their_own(app, enter, shoot):
    address, folder = app
    ana, ben = enter("ana-1"), enter("ben-2", width=390)
    say(ana, "ALPHA: say yes.")
    answered(ana)
    expect(ana.locator(".st-key-person")).to_contain_text("Ana Adler")
    shoot(ana, "login-ana")
    shoot(ben, "login-ben")
    fits(ben)
    ben.goto(ana.url)  # the link to her conversation
    expect(ben.get_by_test_id("stChatInputTextArea")).to_be_visible(timeout=WAIT)
    expect(ben.get_by_text("There is no conversation")).to_be_visible(timeout=WAIT)
    assert "ALPHA" not in ben.content()
    shoot(ben, "login-ben-elsewhere")

    ana.goto(f"{address}/settings")
    expect(ana.get_by_text("You are an admin")).to_be_visible(timeout=WAIT)
    expect(ana.get_by_text("All settings")).to_be_visible(timeout=WAIT)
    shoot(ana, "login-settings-admin")
    button(ana, "log-out").click()
    expect(button(ana, "log-in")).to_be_visible(timeout=WAIT)
    assert "ALPHA" not in ana.content()
    log_in(ana, "ben-2")  # the same browser, another person
    expect(ana.locator(".st-key-person")).to_contain_text("Ben <b>Bold</b>")
    assert "ALPHA" not in ana.content()
    ana.goto(f"{address}/settings")
    expect(ana.get_by_text("You are logged in as")).to_be_visible(timeout=WAIT)
    expect(ana.get_by_text("All settings")).to_have_count(0)
    shoot(ana, "login-settings")

    assert len(list((folder / "data" / "people").iterdir())) == 2
    assert not (folder / "data" / "conversations.db").exists()
    log = (folder / "log.txt").read_text()
    assert f"{address} (after a login)" in log
    assert not re.search(f"{SECRET}|kkkkkkkk|ALPHA", log)


def test_without_a_login_there_is_the_login_page_and_nothing_else(app, enter, shoot):
    address, _ = app
    page = enter(width=390)
    fits(page)
    shoot(page, "login-page")
    for path in ("settings", "knowledge", "models"):
        page.goto(f"{address}/{path}")
        expect(button(page, "log-in")).to_be_visible(timeout=WAIT)
        expect(page.get_by_role("heading")).to_have_count(0)
        expect(page.get_by_test_id("stSidebar")).to_have_count(0)
    answer = httpx.get(f"{address}/v1/models")
    assert "application/json" not in answer.headers["content-type"], "The API is off: there is no key."
