"""Downloads from a hub on a loopback address: whole, broken off, wrong, and not at all."""

import resource
import threading
from pathlib import Path

import pytest
from filelock import FileLock
from hub import Hub

from phireside.errors import DownloadError
from phireside.models import download as module
from phireside.models.download import download, hub_url, part_bytes

NAME = "owner/repo/sub/model.gguf"


@pytest.fixture
def body(tiny_phi3: Path) -> bytes:
    return tiny_phi3.read_bytes()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / NAME


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)


def kept(target: Path) -> list[str]:
    """What lies in the target's folder, the lock aside."""
    folder = target.parent
    return sorted(file.name for file in folder.iterdir() if file.suffix != ".lock") if folder.is_dir() else []


def test_a_complete_download(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    seen: list[tuple[int, int]] = []
    sha256 = download(NAME, target, endpoint=hub.url, progress=lambda done, total: seen.append((done, total)))
    assert sha256 == hub.sha256
    assert target.read_bytes() == body
    assert kept(target) == ["model.gguf"]
    assert seen == sorted(seen)
    assert len(seen) > 3
    assert seen[-1] == (len(body), len(body))
    assert hub.requests[0][:2] == ("HEAD", "/owner/repo/resolve/main/sub/model.gguf")


def test_a_broken_transfer_is_resumed_at_once(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    hub.breaks = [3_000_000, 2_000_000]
    download(NAME, target, endpoint=hub.url)
    assert target.read_bytes() == body
    assert hub.ranges() == [None, "bytes=3000000-", "bytes=5000000-"]


def test_a_transfer_given_up_is_resumed_by_the_next_call(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    hub.breaks = [3_000_000, *[0] * module._FRUITLESS]
    with pytest.raises(DownloadError, match=f"byte 3000000 of {len(body)}"):
        download(NAME, target, endpoint=hub.url)
    assert not target.exists()
    assert part_bytes(target) == 3_000_000
    assert kept(target) == [f"model.gguf.{hub.sha256[:16]}.part"]
    hub.requests.clear()
    assert download(NAME, target, endpoint=hub.url) == hub.sha256
    assert hub.ranges() == ["bytes=3000000-"]
    assert kept(target) == ["model.gguf"]


def test_a_server_that_gives_a_few_bytes_each_time_is_given_up(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    hub.breaks = [10] * 100
    with pytest.raises(DownloadError, match="attempts in a row"):
        download(NAME, target, endpoint=hub.url)
    assert len(hub.ranges()) == module._FRUITLESS


def test_the_last_attempt_counts_if_it_brings_the_rest(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    hub.breaks = [len(body) - 100, *[0] * (module._FRUITLESS - 1)]
    assert download(NAME, target, endpoint=hub.url) == hub.sha256


def test_an_answer_of_503_is_waited_out(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    hub.storage_status = [503, 429]
    assert download(NAME, target, endpoint=hub.url) == hub.sha256


def test_a_server_without_ranges_gives_the_whole_file_again(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    hub.breaks = [3_000_000]
    hub.ignores_range = True
    assert download(NAME, target, endpoint=hub.url) == hub.sha256
    assert target.read_bytes() == body


def test_the_part_of_another_version_is_not_mixed_in(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = bytes(len(body))
    hub.breaks = [3_000_000, *[0] * module._FRUITLESS]
    with pytest.raises(DownloadError):
        download(NAME, target, endpoint=hub.url)
    hub.body = body
    download(NAME, target, endpoint=hub.url)
    assert target.read_bytes() == body
    assert kept(target) == ["model.gguf"]


def test_a_part_longer_than_the_file_starts_again(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    target.parent.mkdir(parents=True)
    target.with_name(f"model.gguf.{hub.sha256[:16]}.part").write_bytes(body + b"more")
    download(NAME, target, endpoint=hub.url)
    assert target.read_bytes() == body


def test_a_part_that_is_complete_is_only_checked(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    target.parent.mkdir(parents=True)
    target.with_name(f"model.gguf.{hub.sha256[:16]}.part").write_bytes(body)
    download(NAME, target, endpoint=hub.url)
    assert hub.ranges() == []
    assert target.read_bytes() == body


def test_a_wrong_hash_is_not_kept(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    hub.announced = {"X-Linked-Etag": f'"{"ab" * 32}"'}
    with pytest.raises(DownloadError, match=f"{hub.sha256}, and the hub announced {'ab' * 32}"):
        download(NAME, target, endpoint=hub.url)
    assert kept(target) == []


def test_more_bytes_than_announced_are_not_kept(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    hub.announced = {"X-Linked-Size": str(len(body) - 5)}
    with pytest.raises(DownloadError, match=f"more than the {len(body) - 5} bytes"):
        download(NAME, target, endpoint=hub.url)
    assert not target.exists()
    assert part_bytes(target) == 0


def test_fewer_bytes_than_announced_are_no_model(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    hub.announced = {"X-Linked-Size": str(len(body) + 5)}
    with pytest.raises(DownloadError, match=f"byte {len(body)} of {len(body) + 5}"):
        download(NAME, target, endpoint=hub.url)
    assert not target.exists()


def test_a_page_served_instead_of_the_model_is_not_kept(hub: Hub, target: Path) -> None:
    hub.body = b"<!DOCTYPE html>please log in to this network"
    hub.announced = {"X-Linked-Etag": '"no-sha"'}
    with pytest.raises(DownloadError, match="web page"):
        download(NAME, target, endpoint=hub.url)
    assert kept(target) == []


def test_a_server_that_is_no_hub_is_refused(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    hub.announced = {"X-Linked-Etag": "", "X-Linked-Size": ""}
    with pytest.raises(DownloadError, match="without size and etag"):
        download(NAME, target, endpoint=hub.url)


@pytest.mark.parametrize("whole_address", [False, True])
def test_a_renamed_repository_is_followed(hub: Hub, body: bytes, target: Path, whole_address: bool) -> None:
    hub.body = body
    hub.rename_to = "/owner/new-name"
    hub.rename_base = hub.url if whole_address else ""
    assert download(NAME, target, endpoint=hub.url) == hub.sha256
    assert [path for method, path, _ in hub.requests if method == "HEAD"] == [
        "/owner/repo/resolve/main/sub/model.gguf",
        "/owner/new-name/resolve/main/sub/model.gguf",
    ]


def test_a_circle_of_renames_ends(hub: Hub, target: Path) -> None:
    hub.announced = {"X-Linked-Etag": "", "X-Linked-Size": "", "Location": "/owner/repo/again"}
    with pytest.raises(DownloadError, match="without size and etag"):
        download(NAME, target, endpoint=hub.url)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "needs a login"), (403, "give you access"), (404, "no such file"), (418, "refused"), (500, "in trouble")],
)
def test_a_refusal_says_why_and_how_to_bring_the_file_by_hand(hub: Hub, target: Path, status: int, reason: str) -> None:
    hub.status = status
    with pytest.raises(DownloadError, match=f"{reason}.*HTTP {status}") as caught:
        download(NAME, target, endpoint=hub.url)
    assert hub_url(NAME, hub.url) in caught.value.hint
    assert str(target.parent) in caught.value.hint
    assert kept(target) == []


def test_a_hub_that_is_down_is_said_at_once(hub: Hub, target: Path) -> None:
    with pytest.raises(DownloadError, match="not reached") as caught:
        download(NAME, target, endpoint="http://127.0.0.1:1")
    assert "To bring it by hand" in caught.value.hint


def test_offline_mode_is_respected(hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        download(NAME, target, endpoint=hub.url)
    assert hub.requests == []


def test_the_token_goes_to_the_hub_and_not_to_another_host(
    hub: Hub, body: bytes, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "secret")
    hub.body = body
    hub.announced = {"Location": f"{hub.url.replace('127.0.0.1', 'localhost')}/storage"}
    download(NAME, target, endpoint=hub.url)
    assert dict(hub.authorizations) == {
        "/owner/repo/resolve/main/sub/model.gguf": "Bearer secret",
        "/storage": None,
    }


def test_a_full_disk_is_refused_before_the_first_byte(
    hub: Hub, body: bytes, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.body = body
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": len(body)}))
    with pytest.raises(DownloadError, match="GB free"):
        download(NAME, target, endpoint=hub.url)
    assert hub.ranges() == []


def test_a_write_error_keeps_what_arrived(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, limits[1]))
    try:
        with pytest.raises(DownloadError, match="File too large") as caught:
            download(NAME, target, endpoint=hub.url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "PHIRESIDE_DATA_DIR" in caught.value.hint
    assert 0 < part_bytes(target) <= 4_000_000
    assert download(NAME, target, endpoint=hub.url) == hub.sha256
    assert target.read_bytes() == body


def test_a_folder_that_cannot_be_made_is_said(hub: Hub, body: bytes, tmp_path: Path) -> None:
    hub.body = body
    (tmp_path / "models").write_text("a file")
    with pytest.raises(DownloadError, match="cannot be written"):
        download(NAME, tmp_path / "models" / NAME, endpoint=hub.url)


def test_two_downloads_of_one_file_do_not_mix(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    target.parent.mkdir(parents=True)
    with FileLock(f"{target}.lock"), pytest.raises(DownloadError, match="under way"):
        download(NAME, target, endpoint=hub.url)


def test_ctrl_c_keeps_what_arrived(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body

    def interrupt(done: int, total: int) -> None:
        if done >= 2_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(NAME, target, endpoint=hub.url, progress=interrupt)
    assert part_bytes(target) >= 2_000_000
    assert download(NAME, target, endpoint=hub.url) == hub.sha256
    assert hub.ranges()[1] is not None


def test_an_older_model_stays_until_the_new_one_is_whole(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    target.parent.mkdir(parents=True)
    target.write_bytes(b"the old model")
    hub.breaks = [3_000_000, *[0] * module._FRUITLESS]
    with pytest.raises(DownloadError):
        download(NAME, target, endpoint=hub.url)
    assert target.read_bytes() == b"the old model"
    download(NAME, target, endpoint=hub.url)
    assert target.read_bytes() == body


def test_nothing_is_left_running(hub: Hub, body: bytes, target: Path) -> None:
    hub.body = body
    before = set(threading.enumerate())
    download(NAME, target, endpoint=hub.url)
    assert len(set(threading.enumerate()) - before) <= 1  # the hub's own thread for the last request
