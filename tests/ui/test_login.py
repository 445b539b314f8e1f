"""Who may use the pages, and that people's things are apart, in AppTest: what Streamlit says of a person is given."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from langchain_core.messages import AIMessage, HumanMessage
from streamlit.testing.v1 import AppTest

from phireside.errors import LoginError
from phireside.settings import LoginSettings, Settings
from phireside.ui import login, main
from phireside.ui.app import api_routes
from phireside.ui.login import Person, person_of
from phireside.ui.services import close_services, common_settings, services

MAIN = Path(main.__file__)
OUT = {"is_logged_in": False}
ANA = {
    "is_logged_in": True,
    "provider": "default",
    "iss": "https://id.example.org",
    "sub": "ana-1",
    "name": "Ana *Adler*",
    "email": "Ana@Example.org",
    "email_verified": True,
}
BEN = ANA | {"sub": "ben-2", "name": "Ben", "email": "ben@example.org"}
ADMIN = LoginSettings(admins=("ana@example.org", "boss-1"))
MEMBERS = LoginSettings(people=("@example.org", "guest-1"), admins=("boss-1",))


def without(claims: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if name not in names}


@pytest.mark.parametrize(
    ("claims", "login", "admin"),
    [
        (ANA, LoginSettings(), False),
        (ANA, ADMIN, True),
        (ANA | {"email_verified": "true"}, ADMIN, True),
        (ANA | {"email_verified": False}, ADMIN, False),
        (without(ANA, "email_verified"), ADMIN, False),
        (without(ANA, "email") | {"sub": "ana@example.org"}, ADMIN, False),  # a name that one chose oneself
        (ANA | {"sub": "boss-1", "email": ""}, ADMIN, True),
        (BEN, ADMIN, False),
        (BEN, MEMBERS, False),
        (BEN | {"sub": "guest-1", "email": "x@elsewhere.org"}, MEMBERS, False),
        (BEN | {"sub": "boss-1", "email": "x@elsewhere.org"}, MEMBERS, True),  # admins need not be named twice
    ],
)
def test_who_is_an_admin(claims, login, admin):
    found = person_of(claims, login)
    assert (found.issuer, found.subject, found.admin) == (claims["iss"], claims["sub"], admin)


@pytest.mark.parametrize(
    ("claims", "login"),
    [
        (OUT, ADMIN),
        ({}, ADMIN),
        (ANA | {"is_logged_in": "true"}, ADMIN),
        (ANA | {"provider": "another"}, ADMIN),  # the cookie of a provider that was taken out of the settings
        (without(ANA, "iss"), ADMIN),
        (ANA | {"sub": ""}, ADMIN),
        (ANA | {"sub": ["ana-1"]}, ADMIN),
        (BEN | {"email": "ben@elsewhere.org"}, MEMBERS),
        (BEN | {"email": "ben@example.org.evil.net"}, MEMBERS),
        (BEN | {"email_verified": False}, MEMBERS),
        (BEN | {"email": "@example.org", "email_verified": False, "sub": "@example.org"}, MEMBERS),
    ],
)
def test_who_may_not_come_in(claims, login):
    with pytest.raises(LoginError):
        person_of(claims, login)


@pytest.fixture
def come(settings: Settings, tmp_path: Path, script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`come(claims)`: from now on this person's browser asks. There is a login, and Ana is an admin."""
    folder = tmp_path / "notes"
    folder.mkdir()
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("PHIRESIDE_LOGIN__SECRETS", str(tmp_path / "secrets.toml"))
    monkeypatch.setenv("PHIRESIDE_LOGIN__ADMINS", '["ana@example.org"]')
    monkeypatch.setenv("PHIRESIDE_TOOLS__FOLDERS", f'["{folder}"]')
    st.cache_resource.clear()
    st.cache_data.clear()
    yield lambda claims: monkeypatch.setattr(login, "_claims", lambda: claims)
    close_services()


def opened(app: AppTest | None = None) -> AppTest:
    app = (app or AppTest.from_file(MAIN, default_timeout=60)).run()
    assert not app.exception, app.exception
    return app


def texts(app: AppTest) -> str:
    return "\n".join([each.value for each in app.markdown] + [each.value for each in app.caption])


def keys(app: AppTest) -> set[str]:
    return {each.key for each in app.button}


def test_people_have_stores_and_folders_of_their_own_and_models_in_common(come):
    come(ANA)
    ana = services()
    kept = ana.store.create().id
    ana.store.save_turn(kept, [HumanMessage("ALPHA?"), AIMessage("Yes.")])
    come(BEN)
    ben = services()
    assert ben.store.list() == []
    assert ana.settings.data_dir != ben.settings.data_dir
    assert ana.settings.models_dir == ben.settings.models_dir == common_settings().models_dir
    assert ana.catalog is ben.catalog
    assert ana.settings.tools.folders == common_settings().tools.folders != ()
    assert ben.settings.tools.folders == (), "Only admins' tools read folders of this machine."
    assert (ana.admin, ben.admin) == (True, False)
    come(ANA | {"name": "Ana Adler-Bold"})  # a name may change
    assert services().store is ana.store
    assert services().person == Person("https://id.example.org", "ana-1", "Ana Adler-Bold", admin=True)


def test_nobody_has_services_before_the_login(come, settings):
    come(OUT)
    with pytest.raises(LoginError):
        services()
    app = opened()
    assert keys(app) == {"log-in"}
    assert not app.sidebar.children
    assert not settings.data_dir.exists()


def test_somebody_who_may_not_be_here_is_told_and_can_log_out(come, monkeypatch):
    monkeypatch.setenv("PHIRESIDE_LOGIN__PEOPLE", '["@elsewhere.org"]')
    come(BEN)
    app = opened()
    assert keys(app) == {"log-in", "log-out"}
    assert "login.people" in app.error[0].value.replace("\\", "")


def test_the_name_is_shown_as_text_with_a_way_out(come):
    come(ANA)
    app = opened()
    assert any(r"Ana \*Adler\*" in each.value for each in app.sidebar.markdown)
    assert "log-out" in {each.key for each in app.sidebar.button}


def test_a_session_that_changes_hands_forgets_what_it_had(come):
    come(ANA)
    app = opened()
    app.session_state["draft-of-ana"] = "ALPHA"
    app.run()
    assert "draft-of-ana" in app.session_state
    come(BEN)
    app.run()
    assert "draft-of-ana" not in app.session_state
    come(OUT)
    app.run()
    assert keys(app) == {"log-in"}


@pytest.mark.parametrize("claims", [ANA, BEN], ids=["admin", "other"])
def test_only_admins_see_what_reaches_the_machine_or_everybody(come, menu, claims):
    come(claims)
    admin = services().admin
    services().catalog.pull_target("o/r/tiny.gguf").parent.mkdir(parents=True)
    services().catalog.pull_target("o/r/tiny.gguf").write_bytes(b"GGUF")
    app = opened(menu(AppTest.from_file(MAIN, default_timeout=60), "settings"))
    assert ("erase-states" in keys(app), "erase-downloads" in keys(app)) == (admin, admin)
    assert {"erase-conversations", "erase-bases", "erase-everything"} <= keys(app)
    assert ("How to change a setting" in [each.label for each in app.expander]) is admin
    assert (str(services().settings.data_dir) in texts(app).replace("\\", "")) is admin
    assert "You are logged in as" in texts(app)

    models = menu(AppTest.from_file(MAIN, default_timeout=60), "models")
    assert any(key.startswith("chat-") for key in keys(models))
    assert any(key.startswith("delete-") for key in keys(models)) is admin
    assert any(key.startswith("download-") for key in keys(models)) is admin
    assert bool([each for each in models.text_input if each.key == "hub-name"]) is admin
    scenarios = menu(AppTest.from_file(MAIN, default_timeout=60), "scenarios")
    assert ("Your own scenarios" in [each.label for each in scenarios.expander]) is admin

    knowledge = menu(AppTest.from_file(MAIN, default_timeout=60), "knowledge")
    knowledge.text_input(key="new-base-name").input("notes")
    knowledge.button(key="create-base").click().run()
    labels = [each.label for each in knowledge.expander]
    assert "A page of the web" in labels
    assert ("A folder or file of this machine" in labels) is admin


def test_erasing_everything_of_one_person_leaves_the_others(come, menu):
    come(ANA)
    ana = services()
    ana.store.create("Hers")
    come(BEN)
    ben = services()
    ben.store.create("His")
    app = menu(AppTest.from_file(MAIN, default_timeout=60), "settings")
    app.button(key="erase-everything").click().run()
    app.text_input(key="word-everything").input("everything")
    app.button(key="erase-yes-everything").click().run()
    assert not app.exception
    assert ben.store.list() == []
    assert [each.title for each in ana.store.list()] == ["Hers"]


def test_without_a_login_the_settings_page_says_for_whom_the_pages_are(parts, menu):
    app = menu(AppTest.from_file(MAIN, default_timeout=60), "settings")
    assert "for this machine only (127.0.0.1)" in texts(app)
    assert "log-out" not in keys(app)


def test_the_api_beside_the_pages_needs_a_key_once_there_is_a_login(come, tmp_path):
    assert api_routes("k" * 40) == [], "What cannot be checked is not served."
    (tmp_path / "secrets.toml").write_text(
        '[auth]\nredirect_uri = "https://chat.example.org/oauth2callback"\n'
        f'cookie_secret = "{"k" * 40}"\nclient_id = "c"\nclient_secret = "s"\n'
        'server_metadata_url = "https://id.example.org/.well-known/openid-configuration"\n'
    )
    assert api_routes("") == []
    assert api_routes("k" * 15) == []
    assert api_routes("k" * 40) != []
