"""The file reader: what it reads, how it says what it cannot read, and that it helps with names."""

import os
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from phireside.errors import SettingsError, ToolError
from phireside.models.dialects.inputs import checked
from phireside.tools import read_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    notes = tmp_path / "notes"
    (notes / "trips").mkdir(parents=True)
    (notes / "plan.txt").write_text("Buy wood.")
    (notes / "trips" / "lake.md").write_text("# The lake")
    return notes


class Reads:
    """The tool for LangChain's own tests, which are run as they are."""

    @pytest.fixture(autouse=True)
    def _reads(self, folder: Path) -> None:
        self.folder = folder

    @property
    def tool_constructor(self) -> BaseTool:
        return read_file([self.folder])

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"name": "plan.txt"}


class TestUnit(Reads, ToolsUnitTests):
    pass


class TestIntegration(Reads, ToolsIntegrationTests):
    pass


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plan.txt", "Buy wood."),
        (" ./plan.txt ", "Buy wood."),
        ("trips/lake.md", "# The lake"),
        ("trips//./lake.md", "# The lake"),
        ("trips\\lake.md", "# The lake"),
    ],
)
def test_it_reads_files_and_those_of_folders_below(folder: Path, name: str, text: str) -> None:
    assert read_file([folder]).invoke({"name": name}) == text


def test_a_name_is_looked_for_in_one_folder_after_another(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "plan.txt").write_text("second")
    (other / "more.txt").write_text("more")
    tool = read_file([str(folder), other])
    assert [tool.invoke({"name": name}) for name in ("plan.txt", "more.txt")] == ["Buy wood.", "more"]


def test_one_folder_may_stand_alone(folder: Path) -> None:
    assert read_file(str(folder)).invoke({"name": "plan.txt"}) == "Buy wood."


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("plam.txt", "plam.txt is not there. There are: plan.txt, trips/."),
        ("trips/sea.md", "trips/sea.md is not there. There are: trips/lake.md."),
        ("trips", "trips is a folder. There are: trips/lake.md."),
        ("plan.txt/x", "plan.txt/x is not there. There are: plan.txt, trips/."),
    ],
)
def test_a_wrong_name_is_answered_with_the_names_that_there_are(folder: Path, name: str, said: str) -> None:
    with pytest.raises(ToolError) as caught:
        read_file([folder]).invoke({"name": name})
    assert str(caught.value) == said


def test_the_help_is_short_and_shows_no_links_and_no_names_that_could_steer(folder: Path) -> None:
    for number in range(100):
        (folder / f"f{number:02}.txt").touch()
    (folder / "a\nDo this").touch()
    (folder / "link").symlink_to("/")
    with pytest.raises(ToolError) as caught:
        read_file([folder]).invoke({"name": "x"})
    assert caught.value.hint.startswith("There are: f00.txt, f01.txt")
    assert caught.value.hint.endswith(" and 72 more.")
    assert len(caught.value.hint) < 500


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("süß".encode(), "süß"),
        (b"\xef\xbb\xbfone", "one"),
        ("süß".encode("cp1252"), "süß"),
        ("日本".encode("utf-16"), "日本"),
        (b"", "(The file is empty.)"),
        (b"one\r\ntwo\r\n", "one\ntwo\n"),
        (b"\x1b[31mred", "[31mred"),
    ],
)
def test_texts_are_read_in_the_usual_encodings(folder: Path, data: bytes, text: str) -> None:
    (folder / "x").write_bytes(data)
    assert read_file([folder]).invoke({"name": "x"}) == text


@pytest.mark.parametrize("data", [b"GIF89a\x00\x01", b"%PDF-1.7\n\x01\x02"])
def test_what_is_no_text_is_refused(folder: Path, data: bytes) -> None:
    (folder / "x").write_bytes(data)
    with pytest.raises(ToolError, match="x is not a text file"):
        read_file([folder]).invoke({"name": "x"})


@pytest.mark.parametrize("character", ["x", "ß", "火", "🔥"])
def test_a_long_file_is_cut_and_says_so(folder: Path, character: str) -> None:
    (folder / "long").write_text(character * 1001)
    size = 1001 * len(character.encode())
    tool = read_file([folder], longest=1000)
    expected = f"{character * 1000}\n(The file goes on: it has {size:,} bytes in all.)"
    assert tool.invoke({"name": "long"}) == expected
    (folder / "long").write_text(character * 1000)
    assert tool.invoke({"name": "long"}) == character * 1000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_rights_is_an_error(folder: Path) -> None:
    (folder / "plan.txt").chmod(0)
    with pytest.raises(ToolError, match=r"plan\.txt cannot be read: Permission denied"):
        read_file([folder]).invoke({"name": "plan.txt"})


def test_a_folder_that_has_gone_is_an_error(tmp_path: Path) -> None:
    tool = read_file([tmp_path.joinpath("gone").mkdir() or tmp_path / "gone"])
    (tmp_path / "gone").rmdir()
    with pytest.raises(ToolError, match="folder cannot be read"):
        tool.invoke({"name": "x"})


@pytest.mark.parametrize("folders", [[], ["/nowhere/at/all"], [__file__], ["a\0b"]])
def test_wrong_folders_are_told_when_the_tool_is_made(folders: list[str]) -> None:
    with pytest.raises(SettingsError):
        read_file(folders)


def test_it_says_what_it_does_and_its_grammar_holds(folder: Path) -> None:
    tool = read_file([folder])
    assert ((tool.metadata or {})["effects"], (tool.metadata or {})["untrusted"]) == ("none", True)
    (spec,) = checked([tool])  # compiles the grammar
    assert list(spec.parameters["properties"]) == ["name"]
