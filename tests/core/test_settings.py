"""Settings: which source wins, what a bad value says, and where the data lie."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import make_url

from phireside import EngineSettings, Settings
from phireside.errors import SettingsError
from phireside.paths import config_files, default_data_dir, ensure_dir

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's first start: no variable, no file, some other working directory."""
    for name in [name for name in os.environ if name.startswith("PHIRESIDE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def user_file() -> Path:
    """The user's own phireside.toml."""
    path = config_files()[0]
    path.parent.mkdir(parents=True)
    return path


def test_a_stronger_source_wins_over_every_weaker_one(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().model == "auto"
    user_file.write_text('model = "user-file"')
    assert Settings().model == "user-file"
    Path("phireside.toml").write_text('model = "working-directory"')
    assert Settings().model == "working-directory"
    monkeypatch.setenv("PHIRESIDE_MODEL", "environment")
    assert Settings().model == "environment"
    assert Settings(model="argument").model == "argument"


def test_sources_that_set_different_fields_of_the_engine_add_up(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text("[engine]\nn_ctx = 1\nn_threads = 1\nn_batch = 1\nn_sequences = 1")
    Path("phireside.toml").write_text("[engine]\nn_threads = 2\nn_batch = 2\nn_sequences = 2")
    monkeypatch.setenv("PHIRESIDE_ENGINE__N_BATCH", "3")
    monkeypatch.setenv("PHIRESIDE_ENGINE__N_SEQUENCES", "3")
    engine = Settings(engine={"n_sequences": 4}).engine
    assert (engine.n_ctx, engine.n_threads, engine.n_batch, engine.n_sequences) == (1, 2, 3, 4)


def test_an_empty_variable_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHIRESIDE_MODEL", "")
    assert Settings().model == "auto"


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.model = "other"
    with pytest.raises(ValidationError, match="frozen"):
        settings.engine.n_ctx = 1


def test_equal_engine_settings_are_one_key() -> None:
    assert len({EngineSettings(), EngineSettings(n_gpu_layers=-1), EngineSettings(n_ctx=8)}) == 2


BAD = [
    ("PORT", "port", "99999"),
    ("PORT", "port", "http"),
    ("ENGINE__N_CTX", "engine.n_ctx", "-1"),
    ("ENGINE__N_CTX", "engine.n_ctx", "4k"),
    ("ENGINE__TYPE_K", "engine.type_k", "q9"),
    ("ENGINE__N_CTXX", "engine.n_ctxx", "4096"),
    ("ENGINE__N_GPU_LAYERS", "engine.n_gpu_layers", "-2"),
]


@pytest.mark.parametrize(("variable", "name", "value"), BAD)
def test_a_bad_variable_is_named_with_its_value_and_source(
    variable: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PHIRESIDE_{variable}", value)
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert name in caught.value.message
    assert f"PHIRESIDE_{variable}" in caught.value.message
    assert repr(value) in caught.value.message
    assert "docs/settings.md" in caught.value.hint


def test_a_nested_variable_that_is_not_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHIRESIDE_ENGINE", "fast")
    with pytest.raises(SettingsError, match='"engine" from the environment: it is no JSON'):
        Settings()


def test_a_bad_value_is_blamed_on_the_variable_that_has_it_however_that_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("phireside_port", "x")
    with pytest.raises(SettingsError, match="port, from phireside_port:"):
        Settings()
    monkeypatch.setenv("phireside_port", "")  # an empty one has none
    Path("phireside.toml").write_text("port = 'x'")
    with pytest.raises(SettingsError, match=r"port, from phireside\.toml:"):
        Settings()


def test_a_bad_value_in_a_file_is_named() -> None:
    Path("phireside.toml").write_text("[engine]\nn_batch = 0")
    with pytest.raises(SettingsError, match=r"engine\.n_batch, from phireside\.toml: .*greater than or equal to 1"):
        Settings()


def test_an_unknown_setting_in_a_file_is_named_without_its_value() -> None:
    Path("phireside.toml").write_text('openai_key = "sk-12345"')
    with pytest.raises(SettingsError, match=r"openai_key, from phireside\.toml: there is no such setting") as caught:
        Settings()
    assert "sk-12345" not in str(caught.value)


def test_a_bad_argument_is_named() -> None:
    with pytest.raises(SettingsError, match=r"port, from an argument: .*'0'"):
        Settings(port=0)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"engine\.n_ctx.*; port"):
        Settings(port=0, engine={"n_ctx": -1})


@pytest.mark.parametrize("content", [b"model =", b"model = 'a'\nmodel = 'b'", b'model = "\xff"', b"<html>", b"\0"])
def test_a_damaged_file_is_named(content: bytes, user_file: Path) -> None:
    user_file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        Settings()
    assert str(user_file) in caught.value.message
    assert caught.value.hint


def test_secrets_are_shown_neither_by_repr_nor_by_an_error() -> None:
    settings = Settings(openai_api_key="sk-12345", database_url="postgresql+psycopg://me:s3cret@127.0.0.1/db")
    assert "sk-12345" not in repr(settings)
    assert "s3cret" not in repr(settings)
    with pytest.raises(SettingsError, match="openai_api_key") as caught:
        Settings(openai_api_key=["sk-12345"])
    assert "sk-12345" not in str(caught.value)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_is_a_number_of_tokens_or_a_settings_error(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHIRESIDE_ENGINE__N_CTX", text)
        try:
            assert Settings().engine.n_ctx >= 0
        except SettingsError as error:
            assert "engine.n_ctx" in error.message  # noqa: PT017 (either outcome is right, neither is another error)


def test_data_lie_in_the_platforms_folder_and_never_in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings = Settings()
    assert settings.data_dir == default_data_dir()
    for place in (settings.data_dir, settings.models_dir, Path(settings.conversations_url.removeprefix("sqlite:///"))):
        assert place.is_absolute()
        assert not place.is_relative_to(ROOT)


def test_a_data_folder_is_absolute_and_knows_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir="~/chats")
    assert settings.data_dir == tmp_path / "home" / "chats"
    assert settings.conversations_url == f"sqlite:///{tmp_path}/home/chats/conversations.db"
    relative = Settings(data_dir="here")
    monkeypatch.chdir(tmp_path)
    assert relative.data_dir == tmp_path / "work" / "here"


def test_a_home_folder_of_nobody_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="data_dir"):
        Settings(data_dir="~no-such-person/chats")


def test_a_database_url_replaces_the_file_in_the_data_folder() -> None:
    assert Settings(database_url="sqlite:////tmp/x.db").conversations_url == "sqlite:////tmp/x.db"


def test_ensure_dir_makes_a_folder_once_and_again(tmp_path: Path) -> None:
    assert ensure_dir(ensure_dir(tmp_path / "a" / "b")).is_dir()


@pytest.mark.parametrize("name", ["file", "file/below", "nul\0byte"])
def test_a_folder_that_cannot_be_made_is_a_settings_error_with_a_way_out(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError, match=r"cannot be created: .") as caught:
        ensure_dir(tmp_path / name)
    assert "PHIRESIDE_DATA_DIR" in caught.value.hint


def test_the_context_is_the_models_own_up_to_8192() -> None:
    assert EngineSettings().context(4096) == 4096
    assert EngineSettings().context(131_072) == 8192
    assert EngineSettings().context(None) == 8192
    assert EngineSettings(n_ctx=512).context(4096) == 512


def test_a_cheap_cache_holds_up_to_four_conversations_and_a_dear_one_holds_one() -> None:
    assert EngineSettings().cells(4096, bytes_per_token=393_216) == 4096  # Phi-3: 1.6 GB for one
    assert EngineSettings().cells(8192, bytes_per_token=23_040) == 2 * 8192  # SmolLM2: 189 MB for one
    assert EngineSettings().cells(2048, bytes_per_token=0) == 4 * 2048  # recurrent: nothing to pay
    assert EngineSettings(cache_tokens=5000).cells(4096, bytes_per_token=1) == 5000
    assert EngineSettings(cache_tokens=100).cells(4096, bytes_per_token=1) == 4096


@pytest.mark.parametrize("name", ["plain", "two words", "what?", "a%41b", "100%", "a#b", "ü"])
def test_the_database_lies_in_the_data_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    url = make_url(Settings(data_dir=tmp_path / name).conversations_url)
    assert url.database == str(tmp_path / name / "conversations.db")
    assert not url.query
