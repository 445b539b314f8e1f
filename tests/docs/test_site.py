"""The documentation as a site: built without a warning, with every page and public name, and it loads nothing."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("phireside", "models", "memory", "retrieval", "chains", "tools", "agents", "api")
LOADS = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Docstrings are read from a copy that has the rooms where an installed package has them."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    places = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    for package, folder in sorted(places.items()):
        copy = source / package.replace(".", "/")
        shutil.copytree(ROOT / folder, copy, ignore=shutil.ignore_patterns("__pycache__", "*.yaml"))
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]  # --quiet would hide warnings from --strict
    command += ["-f", str(ROOT / ".ci" / "mkdocs.yml"), "-d", str(built)]
    own = {**os.environ, "PHIRESIDE_SOURCE": str(source), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=built, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return built


def test_every_page_is_there_and_in_the_contents(site: Path) -> None:
    contents = (site / "index.html").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        place = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert (site / place).exists()
        assert f'href="{place}"' in contents


class Loads(HTMLParser):
    """Addresses that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in LOADS and given.get("rel") not in ("canonical", "prev", "next"):
            self.found.append(given.get(LOADS[tag]) or "")


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        loads = Loads()
        loads.feed(page.read_text())
        assert [address for address in loads.found if re.match(r"(https?:)?//", address)] == []


@pytest.mark.parametrize("room", ROOMS)
def test_the_reference_has_every_public_name(site: Path, room: str) -> None:
    page = (site / "reference" / f"{room}.html").read_text()
    headings = re.findall(r"<h3 id=\"phireside[.\w]*\" class=\"doc doc-heading\">\s*(?:<[^>]+>\s*)*(\w+)", page)
    names = importlib.import_module(room if room == "phireside" else f"phireside.{room}").__all__
    assert set(names) <= set(headings)
