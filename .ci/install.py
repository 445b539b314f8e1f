"""Prepare `.venv` for `make`: create or repair it, install Phireside, show progress while llama.cpp compiles.

Runs on the system's Python with nothing installed. What was installed is noted in `.venv/.installed`, under a key made
of pyproject.toml's content, so that a second run is quick and a changed dependency is installed. It does not know what
is run afterwards.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".installed"
LOG = VENV / "llama-cpp-python.log"
# The newest for which indexes of CPU builds are sure to have one: the default build brings 3 GB of CUDA libraries.
TORCH = "torch==2.13.0"
STEP = re.compile(r"\[\s*(\d+)(?:/(\d+)|%)\]")  # ninja's [12/345] or make's [ 12%]
NEWS_EVERY_S = 15


def main() -> None:
    """Read the arguments and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("extra", choices=["starter", "dev", "bench"])
    parser.add_argument("--wheel", action="store_true", help="install a built wheel, as a user would get it")
    parser.add_argument("--browser", action="store_true", help="make sure that the tests find Chromium and PostgreSQL")
    args = parser.parse_args()
    if args.browser:
        find_browser()
        find_postgres()
    make_venv()
    if args.wheel:
        install_wheel(args.extra)
    elif args.extra not in read_stamp():
        install_editable(args.extra)


def make_venv() -> None:
    """Create the virtual environment, or create it anew if it is half-made, moved, or its Python is gone."""
    if _succeeds([VENV / "bin" / "pip", "--version"]) and _succeeds([PYTHON, "-c", ""]):
        return
    say(f"Creating {VENV.name} with Python {sys.version.split()[0]}")
    venv.create(VENV, clear=True, with_pip=True)
    pip("install", "--quiet", "--upgrade", "pip>=25")


def read_stamp() -> list[str]:
    """The extras that are installed from pyproject.toml as it is now; none if it changed since."""
    noted, *extras = (STAMP.read_text(errors="replace") if STAMP.exists() else "").split() or [""]
    return extras if noted == key() else []


def key() -> str:
    """What the installation depends on."""
    return hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode()).hexdigest()


def install_editable(extra: str) -> None:
    """Install the checkout itself, for daily work: a changed file needs no new installation."""
    extras = sorted({*read_stamp(), extra, "starter"})
    STAMP.unlink(missing_ok=True)
    install_llama()
    install_torch()
    say(f"Installing Phireside and what it needs ({', '.join(extras)})")
    pip("install", "--editable", f"{ROOT}[{','.join(extras)}]")
    STAMP.write_text(" ".join([key(), *extras]))


def install_wheel(extra: str) -> None:
    """Build a wheel from a clean `build/` (setuptools would pack what an older build left there) and install it."""
    STAMP.unlink(missing_ok=True)
    install_llama()
    install_torch()
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    wheels = ROOT / "build" / "wheel"
    say("Building the wheel")
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(ROOT))
    (wheel,) = wheels.glob("phireside-*.whl")
    pip("install", "--quiet", "--no-deps", "--force-reinstall", str(wheel))
    say(f"Installing what it needs ({extra})")
    pip("install", f"{wheel}[{extra}]")


def install_llama() -> None:
    """Install llama-cpp-python on its own: only here does pip's hidden build output matter to the person who waits."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirement = next(each for each in project["dependencies"] if each.startswith("llama-cpp-python"))
    # pip's cache does not know CMAKE_ARGS: it would hand out a CPU build to one who asks for CUDA.
    fresh = ["--no-cache-dir"] if os.environ.get("CMAKE_ARGS") else []
    say(f"Looking for {requirement}")
    command = [str(PYTHON), "-m", "pip", "install", "--verbose", *fresh, requirement]
    process = subprocess.Popen(command, cwd=VENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with LOG.open("w") as log:
        show_build(process.stdout or (), log)
    if process.wait() != 0:
        print("".join(LOG.read_text().splitlines(keepends=True)[-25:]))
        stop(
            f"llama.cpp could not be installed; the whole output is in {LOG}. It needs a C++ compiler and CMake "
            "(Debian: apt-get install g++ cmake make). docs/install.md has other ways."
        )


def install_torch() -> None:
    """Install PyTorch, unless there is one: a person may have chosen another build (docs/install.md)."""
    if not _succeeds([PYTHON, "-c", "import importlib.metadata; importlib.metadata.version('torch')"]):
        pip("install", "--quiet", TORCH)


def show_build(lines: Iterable[str], log: TextIO) -> None:
    """Copy pip's lines to the log and tell the person how far the compiler is, every quarter of a minute."""
    told = 0.0
    for line in lines:
        log.write(line)
        if "Building wheel for llama" in line and "started" in line:
            say("Compiling llama.cpp for this machine, once: about 5 minutes on 2 cores (docs/install.md: ways around)")
        step = STEP.search(line)
        if step and time.monotonic() - told >= NEWS_EVERY_S:
            told = time.monotonic()
            done, total = step.groups()
            print(f"    llama.cpp: step {done} of {total}" if total else f"    llama.cpp: {done} %", flush=True)


def find_browser() -> None:
    """Install Debian's Chromium where that is possible; otherwise say what to install (its tests are then skipped)."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    mac = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
    if not any(map(shutil.which, names)) and not mac.exists():
        install_package("the browser tests", "chromium", "fonts-liberation")


def find_postgres() -> None:
    """The same with PostgreSQL. The tests start a server of their own; Debian's, on port 5432, is not touched."""
    if not shutil.which("initdb") and not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        install_package("the tests on PostgreSQL", "postgresql")


def install_package(tests: str, *packages: str) -> None:
    """Install Debian's packages for some tests if we may, or say how."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        say(f"Installing Debian's {packages[0]} for {tests}")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["install", "-qq", "-y", "--no-install-recommends", *packages]
        done = [subprocess.run(["apt-get", *what], check=False, env=quiet) for what in (["update", "-qq"], install)]
        if done[-1].returncode == 0:
            return
    say(f"There is no {packages[0]}: {tests} will be skipped. To run them: sudo apt-get install {packages[0]}")


def pip(*arguments: str) -> None:
    """Run the virtual environment's pip, from outside the checkout: `python -m` would put its folders on the path."""
    if subprocess.run([str(PYTHON), "-m", "pip", *arguments], cwd=VENV, check=False).returncode != 0:
        stop("pip could not install what is needed (see above). If .venv is in a bad state: rm -rf .venv, and again.")


def _succeeds(command: Sequence[str | Path]) -> bool:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    print(f"==> {text}", flush=True)


def stop(text: str) -> None:
    """End with a message."""
    raise SystemExit(f"\nError: {text}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        stop("Interrupted. The same command goes on with what is missing.")
