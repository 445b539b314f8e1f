"""What the site adds to docs/: its table of contents, the files outside docs/ that pages link to, and docstrings.

The pages are written for the checkout, where GitHub shows them: a link is a path from file to file. The table of
contents is docs/index.md: a heading is a section, an item of a list is a page, and further links in it are below that.
`::: phireside.ROOM` in a page stands for all public names of the room.
"""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path(os.environ.get("PHIRESIDE_SOURCE", ROOT / "build" / "types"))  # as in mkdocs.yml
OUTSIDE = "project"  # where files from outside docs/ stand on the site
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")
TITLED = re.compile(r"\[([^\]]+)\]\(([^)\s#:]+)\)")
MARKED = re.compile(r"^(```\w+) .+$", re.MULTILINE)  # ```python runnable: the mark is for the tests
ROOM = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)
CODE = re.compile(r"^```.*?^```$|^~~~.*?^~~~$", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Read the table of contents."""
    config.nav = contents((ROOT / "docs" / "index.md").read_text())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to, and what those link to."""
    waiting = [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        for target in links(waiting.pop()):
            if target not in seen and not target.startswith("docs/"):
                seen.add(target)
                path = os.fspath(ROOT / target)
                files.append(
                    File.generated(config, place(target), abs_src_path=path, inclusion=InclusionLevel.NOT_IN_NAV)
                )
                waiting += [target] if target.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 (MkDocs')
    """Let links lead to where the files stand on the site, take the tests' marks from blocks of code, expand rooms."""
    source = origin(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        target = found(source, link[1])
        start = PurePosixPath(place(source)).parent
        return os.path.relpath(place(target), start) if target else link[1]

    return ROOM.sub(lambda room: documented(room[1]), LINK.sub(moved, MARKED.sub(r"\1", markdown)))


def contents(index: str) -> list[Any]:
    """MkDocs' `nav` of the index page."""
    nav: list[Any] = ["index.md"]
    section = nav
    for part in re.split(r"^(?=## |- )", index, flags=re.MULTILINE):
        pages = [(title, found("docs/index.md", target)) for title, target in TITLED.findall(part)]
        entries = [{title: place(path)} for title, path in pages if path]
        if part.startswith("## "):
            section = []
            nav.append({part.splitlines()[0].removeprefix("## "): section})
        elif part.startswith("- ") and len(entries) > 1:
            section.append({pages[0][0]: entries})
        elif part.startswith("- "):
            section += entries
    return nav


def links(source: str) -> Iterator[str]:
    """The files of the checkout that a page links to."""
    text = CODE.sub("", (ROOT / source).read_text())
    yield from filter(None, (found(source, target) for target in LINK.findall(text)))


def found(source: str, target: str) -> str | None:
    """The file of the checkout behind a page's link; of a folder its README; None if there is none."""
    path = Path(os.path.normpath(ROOT / PurePosixPath(source).parent / target))
    path = path / "README.md" if path.is_dir() else path
    return path.relative_to(ROOT).as_posix() if path.is_file() and path.is_relative_to(ROOT) else None


def documented(package: str) -> str:
    """mkdocstrings' lines for the names of a room's `__all__`, each where it is defined; a module as it is.

    A function may have its module's name (`phireside.chains.classify`), so the room itself would show the module.
    """
    file = SOURCE.joinpath(*package.split("."), "__init__.py")
    if not file.exists():
        return f"::: {package}"
    nodes = list(ast.walk(ast.parse(file.read_text())))
    origins = {each.name: node.module for node in nodes if isinstance(node, ast.ImportFrom) for each in node.names}
    (names,) = (ast.literal_eval(node.value) for node in nodes if isinstance(node, ast.Assign) and _is_all(node))
    options = "heading_level: 3, show_root_heading: true, show_root_toc_entry: true"
    return "\n\n".join(
        f"::: {origins.get(name, package)}.{name}\n    options: {{ heading: {name}, toc_label: {name}, {options} }}"
        for name in names
    )


def _is_all(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)


def place(path: str) -> str:
    """Where a file of the checkout stands on the site."""
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{OUTSIDE}/{path}"


def origin(place: str) -> str:
    """The file of the checkout that stands there."""
    return place.removeprefix(f"{OUTSIDE}/") if place.startswith(f"{OUTSIDE}/") else f"docs/{place}"
