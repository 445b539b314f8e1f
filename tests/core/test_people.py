"""Settings for a person: their own folder, models in common, and nothing that people could share by mistake."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phireside import Settings
from phireside.errors import SettingsError

CLAIM = st.text(min_size=1, max_size=60)


@given(issuer=CLAIM, subject=CLAIM, other_issuer=CLAIM, other=CLAIM)
def test_each_pair_of_issuer_and_subject_has_one_folder_below_people(issuer, subject, other_issuer, other):
    settings = Settings(data_dir="/data")
    mine, theirs = settings.for_person(issuer, subject), settings.for_person(other_issuer, other)
    assert mine.data_dir.parent == settings.data_dir / "people"
    assert mine.data_dir.name.isalnum()
    assert len(mine.data_dir.name) == 32
    assert (mine.data_dir == theirs.data_dir) is ((issuer, subject) == (other_issuer, other))


def test_models_are_common_and_everything_else_is_not():
    settings = Settings(data_dir="/data")
    mine = settings.for_person("https://id.example.org", "ana-1")
    common = ("models_dir", "model_hashes", "state_dir", "mcp_file")
    assert [getattr(mine, name) for name in common] == [getattr(settings, name) for name in common]
    for name in ("data_dir", "bases_dir", "runs_dir", "scenarios_dir", "mcp_approvals"):
        assert getattr(mine, name).is_relative_to(mine.data_dir), name
    assert str(mine.data_dir) in mine.conversations_url
    again = mine.for_person("https://id.example.org", "ana-1")
    assert again == mine, "Not a folder in a folder."


@pytest.mark.parametrize("url", ["postgresql://u:hidden@h/d", "sqlite:////data/all.db"])
def test_one_database_for_all_is_refused(url):
    with pytest.raises(SettingsError) as caught:
        Settings(data_dir="/data", database_url=url).for_person("i", "s")
    assert "hidden" not in str(caught.value)
