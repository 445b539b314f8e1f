"""The pages say what is so: links lead somewhere, code compiles, examples run, the table of settings is complete."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from phireside.settings import Settings

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)[ ]?([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
TARGET = re.compile(r"(?:`|^|\s)make ([a-z]+)(?=`|$|\s+#)", re.MULTILINE)
COMMAND = re.compile(
    r"\bphireside (models [a-z]+|eval [a-z]+|config [a-z]+"
    r"|(?:chat|ask|ui|serve|mcp|run|approve|index|search|bench|doctor)\b)"
)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text())


def python_blocks(marks: str | None = None) -> list[tuple[str, str]]:
    """Page and code of the Python blocks, of all or of those with these marks."""
    found = [(name(page), block) for page in PAGES for block in BLOCK.finditer(page.read_text())]
    return [(page, block[3]) for page, block in found if block[1] == "python" and marks in (None, block[2])]


def named(pattern: re.Pattern[str]) -> set[str]:
    """What the pages mention."""
    return {found for page in PAGES for found in pattern.findall(page.read_text())}


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def leads_somewhere(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = page.parent / path if path else page
    return file.exists() and (not anchor or anchor in anchors(file))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [target for target in LINK.findall(prose(page)) if "://" not in target]
    assert [target for target in links if not leads_somewhere(page, target)] == []


def test_the_index_lists_every_page_of_the_documentation() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages <= set(LINK.findall(index))


def test_no_page_waits_for_a_figure() -> None:
    assert [page.name for page in PAGES if "@@" in page.read_text()] == []


@pytest.mark.parametrize(("page", "code"), python_blocks())
def test_every_python_block_compiles(page: str, code: str) -> None:
    compile(code, page, "exec")


@pytest.mark.real
@pytest.mark.parametrize(("page", "code"), python_blocks("runnable"))
def test_every_example_marked_runnable_runs(page: str, code: str, tmp_path: Path, starter_path: Path) -> None:
    own = {**os.environ, "PHIRESIDE_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=own, check=False)
    assert done.returncode == 0, f"{page}: {done.stderr}"
    assert done.stdout.strip()


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"chat", "test"} <= named(TARGET) <= targets


@pytest.mark.parametrize("command", sorted(named(COMMAND)))
def test_every_command_that_a_page_names_exists(command: str) -> None:
    script = Path(sys.executable).parent / "phireside"
    done = subprocess.run([script, *command.split(), "--help"], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Name, default and description of every setting, those of a nested model after its name and a dot."""
    for key, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{prefix}{key}.")
        else:
            default = "" if field.default_factory else str(field.default)
            yield f"{prefix}{key}", f"`{default}`" if default else "", field.description or "MISSING"


def settings_table() -> str:
    lines = ["| setting | environment variable | default | meaning |", "|---|---|---|---|"]
    for key, default, meaning in fields(Settings):
        lines.append(f"| `{key}` | `PHIRESIDE_{key.upper().replace('.', '__')}` | {default} | {meaning} |")
    return "\n".join(lines)


def test_the_table_of_settings_is_the_one_in_the_code() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert "MISSING" not in settings_table()
    assert settings_table() in page, f"docs/settings.md should have this table:\n\n{settings_table()}"
