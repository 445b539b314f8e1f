"""Row 20: no name that a model can write, and no swap behind its back, leads out of the folders that may be read."""

import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from phireside.errors import ToolError
from phireside.tools import read_file

Figure = Callable[[int, str], None]
SECRET = "the secret of the hearth"


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """`data` may be read; beside it lie things that may not."""
    data, evil = tmp_path / "data", tmp_path / "data-evil"
    for each in (data, data / "inner", evil, tmp_path / "outside"):
        each.mkdir()
        (each / "secret.txt").write_text(SECRET)
    (data / "secret.txt").write_text("no secret")
    (data / "inner" / "secret.txt").write_text("no secret")
    outside = tmp_path / "outside"
    (data / "link.txt").symlink_to(outside / "secret.txt")
    (data / "relative.txt").symlink_to("../outside/secret.txt")
    (data / "folder").symlink_to(outside)
    (data / "twice").symlink_to(data / "folder")
    (data / "up").symlink_to("..")
    (data / "self").symlink_to("self")
    (data / "fd").symlink_to("/proc/self/fd")
    os.mkfifo(data / "pipe")
    os.mkfifo(data / "inner" / "pipe")
    (data / "zero").symlink_to("/dev/zero")
    return tmp_path


def names(house: Path) -> list[str]:
    out = [
        "../outside/secret.txt", "../data-evil/secret.txt", "inner/../../outside/secret.txt", "..", "../",
        "inner/.."
    ]  # fmt: skip
    out += [name.replace("/", "\\") for name in out] + ["./../outside/secret.txt", "..\\outside/secret.txt"]
    out += [
        name.replace("..", dots)
        for name in out[:3]
        for dots in (".. ", " ..", "...", "%2e%2e", "\uff0e\uff0e", "..%00")
    ]
    here = str(house)
    absolute = [
        f"{here}/outside/secret.txt", f"{here}/data-evil/secret.txt", f"{here}/data/secret.txt", "/etc/hostname"
    ]  # fmt: skip
    out += (
        absolute + [f"/{name}" for name in absolute] + [f"file://{name}" for name in absolute] + ["/", "//", "\\\\h\\c"]
    )
    out += ["~", "~/secret.txt", "~root/.profile", "C:\\secret.txt", "c:/secret.txt", "$HOME/secret.txt", "${HOME}"]
    out += [
        "link.txt", "relative.txt", "folder/secret.txt", "twice/secret.txt", "up/outside/secret.txt", "self", "zero"
    ]  # fmt: skip
    out += [
        "folder/", "folder/.", "folder/new.txt", "inner/../folder/secret.txt", "fd/0", "fd/1", "/dev/zero",
        "/proc/self/environ"
    ]  # fmt: skip
    out += [
        "secret.txt\0", "secret.txt\0../outside/secret.txt", "\0", "secret.txt\n", "a\nb", "", " ", ".", "./",
        "inner/."
    ]  # fmt: skip
    out += [
        "-evil/secret.txt", "data-evil/secret.txt", "../DATA/secret.txt", "../Data-Evil/secret.txt", "pipe",
        "inner/pipe"
    ]  # fmt: skip
    out += ["\ud800", "\udcff", "x" * 300, "x/" * 600, "x" * 100_000, "../" * 40 + "etc/hostname", "pipe/secret.txt"]
    return out


def within(seconds: float, work: Callable[[], object]) -> bool:
    """Whether some work ends in time."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def test_no_name_leads_out_and_none_hangs(house: Path, figure: Figure) -> None:
    tool, cases, seen = read_file([house / "data"]), names(house), []

    def try_all() -> None:
        for name in cases:
            try:
                seen.append(tool.invoke({"name": name}))
            except ToolError as error:
                assert SECRET not in str(error)  # noqa: PT017
                assert error.hint  # noqa: PT017
                seen.append("")

    assert within(30, try_all)
    assert len(seen) == len(cases)
    escapes = [name for name, text in zip(cases, seen, strict=True) if text not in ("", "no secret")]
    read = [name for name, text in zip(cases, seen, strict=True) if text == "no secret"]
    figure(20, f"{len(escapes)} of {len(cases)} names led out (95 % bound {3 / len(cases):.1%}); a FIFO did not hang")
    assert escapes == []
    assert read == ["secret.txt\n"]  # spaces around a name go


def test_the_same_names_do_lead_out_if_links_are_followed(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, follow = import_module("phireside.tools.read_file"), os.O_RDONLY | os.O_NONBLOCK
    monkeypatch.setattr(module, "_FILE", follow)
    monkeypatch.setattr(module, "_FOLDER", follow | os.O_DIRECTORY)
    tool = read_file([house / "data"])
    for name in ("link.txt", "relative.txt", "folder/secret.txt", "twice/secret.txt", "up/outside/secret.txt"):
        assert tool.invoke({"name": name}) == SECRET


@pytest.fixture
def exchange(house: Path) -> Callable[[str, str], None]:
    """Lets two names in the house change places, in one step."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        pytest.skip("this system cannot exchange two names at once")

    def swap(first: str, second: str) -> None:
        here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        assert libc.renameat2(here, os.fsencode(house / first), here, os.fsencode(house / second), both) == 0

    (house / "data-link").symlink_to(house / "outside")
    return swap


SWAPS = [
    ("data/secret.txt", "data/link.txt", "secret.txt"),  # the file and a link to the secret
    ("data/inner", "data/folder", "inner/secret.txt"),  # its folder and a link to the other
    ("data", "data-link", "secret.txt"),  # the allowed folder itself
]


def read_with_swap(tool: Any, name: str, step: int, swap: Callable[[], None]) -> tuple[str, int]:
    """What a read gives if something is swapped before its Nth call of a C function; and how many it made."""
    count = 0

    def watch(frame: object, event: str, arg: object) -> None:
        nonlocal count
        if event == "c_call":
            count += 1
            if count == step:
                swap()

    sys.setprofile(watch)
    try:
        text = tool.func(name)
    except ToolError:
        text = ""
    finally:
        sys.setprofile(None)
    return text, count


@pytest.mark.parametrize(("first", "second", "name"), SWAPS)
def test_a_swap_at_any_step_does_not_lead_out(
    house: Path, exchange: Callable[[str, str], None], first: str, second: str, name: str, figure: Figure
) -> None:
    tool, texts = read_file([house / "data"]), []
    for swapped in (False, True):
        if swapped:
            exchange(first, second)
        step, steps = 0, 1
        while step <= steps:
            step += 1
            text, steps = read_with_swap(tool, name, step, lambda: exchange(first, second))
            texts.append(text)
            if step <= steps:
                exchange(first, second)  # back
    assert len(texts) > 20
    assert "no secret" in texts
    assert "" in texts
    figure(20, f"{texts.count(SECRET)} secrets in {len(texts)} reads with {first} swapped for a link at each step")
    assert set(texts) == {"", "no secret"}


@pytest.mark.slow
def test_swaps_at_any_time_do_not_lead_out(house: Path, exchange: Callable[[str, str], None], figure: Figure) -> None:
    """As fast as another thread can, 20 s for each of them."""
    secrets = reads = 0
    for first, second, name in SWAPS:
        tool, ended, swaps = read_file([house / "data"]), threading.Event(), [0]

        def swap(first: str = first, second: str = second, ended: Any = ended, swaps: list[int] = swaps) -> None:
            while not ended.wait(0.0001) or swaps[0] % 2:
                exchange(first, second)
                swaps[0] += 1

        thread, end = threading.Thread(target=swap), time.monotonic() + 20
        thread.start()
        while time.monotonic() < end:
            with contextlib.suppress(ToolError):
                secrets += SECRET in tool.invoke({"name": name})
            reads += 1
        ended.set()
        thread.join()
        assert swaps[0] > 10
    figure(20, f"{secrets} secrets in {reads:,} reads while files and folders were swapped for links")
    assert secrets == 0


def test_a_file_that_grows_for_ever_is_bounded(house: Path) -> None:
    with (house / "data" / "large").open("wb") as file:
        file.truncate(50_000_000_000)  # sparse
        file.write(b"text " * 100_000)
    text = read_file([house / "data"], longest=100).invoke({"name": "large"})
    assert len(text) < 200
    assert "50,000,000,000 bytes" in text
