"""The secrets file of a login: what is missing or unsafe in it is said by name, and nothing that is in it."""

from pathlib import Path

import pytest

from phireside.errors import SettingsError
from phireside.settings import LoginSettings
from phireside.ui import login_file
from phireside.ui.login_file import Reach, reach

SECRET = "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t"
GOOD = {
    "redirect_uri": "http://localhost:{port}/oauth2callback",
    "cookie_secret": SECRET,
    "client_id": "phireside",
    "client_secret": SECRET,
    "server_metadata_url": "https://id.example.org/.well-known/openid-configuration",
}


def written(folder: Path, table: dict[str, str], more: str = "") -> LoginSettings:
    file = folder / "secrets.toml"
    file.write_text("[auth]\n" + "".join(f'{key} = "{value}"\n' for key, value in table.items()) + more)
    return LoginSettings(secrets=file)


@pytest.mark.parametrize(
    ("uri", "origin", "host", "local"),
    [
        ("http://localhost:{port}/oauth2callback", "http://localhost:8501", "localhost", True),
        ("http://127.0.0.1:8501/oauth2callback", "http://127.0.0.1:8501", "127.0.0.1", True),
        ("https://chat.example.org/oauth2callback", "https://chat.example.org", "chat.example.org", False),
    ],
)
def test_the_file_says_where_people_find_the_pages(tmp_path, uri, origin, host, local):
    login = written(tmp_path, GOOD | {"redirect_uri": uri})
    found = reach(login, 8501)
    assert (found, found.is_local) == (Reach(origin, host, tmp_path / "secrets.toml"), local)
    assert host in found.flags("10.0.0.5")["server__allowedHosts"]
    assert found.flags("10.0.0.5")["server__address"] == "10.0.0.5"


def test_a_provider_may_have_a_table_of_its_own(tmp_path):
    own = "\n".join(f'{key} = "{GOOD[key]}"' for key in ("client_id", "client_secret", "server_metadata_url"))
    table = {key: GOOD[key] for key in ("redirect_uri", "cookie_secret")}
    login = written(tmp_path, table, f"[auth.keycloak]\n{own}")
    assert reach(login.model_copy(update={"provider": "keycloak"}), 8501).is_local
    with pytest.raises(SettingsError, match="lacks client_id, client_secret, server_metadata_url"):
        reach(login, 8501)
    with pytest.raises(SettingsError, match="no table"):
        reach(login.model_copy(update={"provider": "google"}), 8501)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cookie_secret": SECRET[:31]}, "cookie_secret"),
        ({"client_secret": ""}, "lacks client_secret"),
        ({"server_metadata_url": "http://id.example.org/x"}, "is not https"),
        ({"redirect_uri": ""}, "not of the form"),
        ({"redirect_uri": "https://chat.example.org/"}, "not of the form"),
        ({"redirect_uri": "javascript://x/oauth2callback"}, "not of the form"),
        ({"redirect_uri": "http://chat.example.org/oauth2callback"}, "others could read along"),
        ({"redirect_uri": "http://localhost:9000/oauth2callback"}, "names port 9000"),
        ({"redirect_uri": "https://[/oauth2callback"}, "no address"),
    ],
)
def test_what_is_missing_or_unsafe_is_named_and_no_secret_is(tmp_path, changed, message):
    with pytest.raises(SettingsError, match=message) as caught:
        reach(written(tmp_path, GOOD | changed), 8501)
    assert SECRET[:31] not in str(caught.value)


@pytest.mark.parametrize("content", [None, f"[auth]\ncookie_secret = {SECRET}", "[other]\n", "auth = 1\n"])
def test_a_file_that_cannot_be_used_is_named(tmp_path, content):
    file = tmp_path / "secrets.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=r"secrets\.toml, login\.secrets") as caught:
        reach(LoginSettings(secrets=file))
    assert SECRET not in str(caught.value)


def test_authlib_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(login_file, "find_spec", lambda _: None)
    with pytest.raises(SettingsError) as caught:
        reach(written(tmp_path, GOOD))
    assert "phireside[login]" in caught.value.hint
