"""`examples/fastapi_app.py` sorts letters and answers from a handbook over HTTP; bad requests are told."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from ports import free_port

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def service(root: Path, python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The service in a process of its own, with a handbook of two pages."""
    place = tmp_path_factory.mktemp("service")
    shutil.copy(root / "examples" / "fastapi_app.py", place)
    (place / "handbook").mkdir()
    (place / "handbook" / "deposit.txt").write_text("The deposit is two monthly rents. It is paid back within 30 days.")
    (place / "handbook" / "whales.txt").write_text("Whales sing to each other over many miles.")
    port = free_port()
    own = {"PHIRESIDE_MODEL": "starter", "PHIRESIDE_DATA_DIR": str(place / "data"), "HANDBOOK": str(place / "handbook")}
    command = [python, "-m", "uvicorn", "--log-level", "warning", "--port", str(port), "fastapi_app:app"]
    with (place / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=place, env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            wait_for(client, server, place / "log")
            yield client
    finally:
        server.terminate()
        server.wait(60)
    assert (place / "log").read_text() == ""


def wait_for(client: httpx.Client, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            client.get("/openapi.json").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"The service did not start: {log.read_text()}")


def test_letters_are_sorted_side_by_side(service: httpx.Client) -> None:
    letters = ["I want my money back.", "Where is my parcel?", "Lovely, thank you!"]
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda text: service.post("/sort", json={"text": text}).json(), letters))
    for answer in answers:
        assert set(answer["probabilities"]) == {"refund", "delivery", "praise"}
        assert answer["topic"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert answers[1]["topic"] == "delivery"


def test_an_answer_says_where_it_is_from_also_while_it_grows(service: httpx.Client) -> None:
    answer = service.post("/ask", json={"text": "What is the deposit?"}).json()
    assert answer["known"]
    assert answer["passages"][0]["source"].endswith("deposit.txt")
    with service.stream("POST", "/ask/live", json={"text": "What is the deposit?"}) as response:
        pieces = [json.loads(line) for line in response.iter_lines()]
    assert len(pieces) > 2
    assert pieces[-1]["known"]
    assert pieces[-1]["passages"] == answer["passages"]


def test_what_the_handbook_does_not_say_is_not_known(service: httpx.Client) -> None:
    answer = service.post("/ask", json={"text": "Who wrote Hamlet?"}).json()
    assert answer == {"text": "I don't know.", "known": False, "passages": []}


def test_a_bad_letter_is_told_and_the_service_goes_on(service: httpx.Client) -> None:
    assert service.post("/sort", json={"text": ""}).status_code == 422
    blank = service.post("/sort", json={"text": "   "})
    assert blank.status_code == 422
    assert blank.json()["hint"]
    assert service.post("/sort", json={"text": "Where is it?"}).status_code == 200
