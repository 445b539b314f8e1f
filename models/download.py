"""Downloads one file from a Hugging Face hub: resumed where it broke off, checked, then put under its name at once.

Why not `hf_hub_download` of huggingface_hub 2.4: it starts from zero in every process (its temporary file has a random
name and is deleted on failure), it compares sizes but no hashes, and its progress goes to tqdm. What is used of the
package: the address of a file and the person's token. Knows one file at a time, no catalogue.
"""

import glob
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urljoin, urlsplit

from phireside.errors import DownloadError
from phireside.models.gguf_file import structure_problem

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

_CHUNK = 1 << 20  # bytes
_SPARE = 64 << 20  # bytes that a download leaves free on the disk
_FRUITLESS = 5  # attempts in a row that bring less than a chunk, until the download is given up
_PAUSE_S = 0.5  # before the next attempt; doubled with each fruitless one
_PASSING = {408, 429, 500, 502, 503, 504}
_MAX_RENAMES = 5
_STATUS = {
    401: "there is no such repository, or it needs a login (`hf auth login`, or HF_TOKEN)",
    403: "its owner has to give you access, on its page at the hub",
    404: "the hub has no such file",
}
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Remote:
    """A file as the hub announces it: address, size in bytes, etag, and sha256 if the etag is one (LFS files)."""

    url: str
    size: int
    etag: str
    sha256: str | None


def download(hub: str, target: Path, *, endpoint: str | None = None, progress: Progress | None = None) -> str:
    """Download `hub` ("owner/repo/folder/file.gguf") to `target`.

    What has arrived is kept beside it as `NAME.ETAG.part` and used by the next attempt, also after a crash or Ctrl-C.

    Args:
        hub: the file on the hub.
        target: where it goes; replaced at once when the whole file is there and right.
        endpoint: the hub's address; None = Hugging Face, or what HF_ENDPOINT says.
        progress: called with (bytes done, bytes in all).

    Returns:
        The file's sha256.

    Raises:
        DownloadError: no network, no such file, no rights, too little disk, or not what was announced; the hint says
            how to bring the file by hand.
    """
    import httpx
    from huggingface_hub import constants

    url, headers = _address(hub, endpoint)
    by_hand = _by_hand(url, target)
    if constants.HF_HUB_OFFLINE:
        raise DownloadError("HF_HUB_OFFLINE is set, so nothing is downloaded.", hint=f"Unset it. {by_hand}")
    with _translated(hub, by_hand), httpx.Client(headers=headers, timeout=httpx.Timeout(30, connect=10)) as client:
        remote = _announced(client, url)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(target):
            part = target.with_name(f"{target.name}.{re.sub(r'[^0-9A-Za-z]', '', remote.etag)[:16]}.part")
            found = _Transfer(client, remote, part, progress).run()
            _check(part, remote, found)
            part.replace(target)
            for older in _parts(target):
                older.unlink()
    return found


def part_bytes(target: Path) -> int:
    """How many bytes of an unfinished download of `target` are kept."""
    return max((part.stat().st_size for part in _parts(target)), default=0)


def hub_url(hub: str, endpoint: str | None = None) -> str:
    """The address of "owner/repo/folder/file.gguf", as a browser can open it."""
    return _address(hub, endpoint)[0]


class _Transfer:
    """Brings the bytes of one remote file into its part file and hashes them on the way."""

    def __init__(self, client: "httpx.Client", remote: Remote, part: Path, progress: Progress | None) -> None:
        self._client = client
        self._remote = remote
        self._part = part
        self._progress = progress or (lambda _done, _total: None)
        self._hash = hashlib.sha256()
        self._done = 0

    def run(self) -> str:
        """All attempts that it takes; returns the sha256 of the part file."""
        with self._part.open("a+b") as file:
            self._take_up(file)
            _check_space(self._part.parent, self._remote.size - self._done)
            fruitless = 0
            while self._done < self._remote.size:
                before = self._done
                if not (reason := self._attempt(file)):
                    break
                fruitless = 0 if self._done - before >= _CHUNK else fruitless + 1
                if fruitless >= _FRUITLESS:
                    raise DownloadError(
                        f"The transfer broke off at byte {self._done} of {self._remote.size} ({reason}), and "
                        f"{fruitless} attempts in a row brought next to nothing. What has arrived is kept."
                    )
                log.info("The transfer broke off at byte %d of %d: %s", self._done, self._remote.size, reason)
                time.sleep(_PAUSE_S * 2**fruitless)
            file.flush()
            os.fsync(file.fileno())
        return self._hash.hexdigest()

    def _take_up(self, file: BinaryIO) -> None:
        """Hash what an earlier attempt left; start again if it is longer than the file."""
        file.seek(0)
        while chunk := file.read(_CHUNK):
            self._hash.update(chunk)
            self._done += len(chunk)
        if self._done > self._remote.size:
            self._start_again(file)

    def _start_again(self, file: BinaryIO) -> None:
        file.truncate(0)
        self._hash = hashlib.sha256()
        self._done = 0

    def _attempt(self, file: BinaryIO) -> str:
        """One request for what is missing; returns why it ended early, if that may pass. Other errors are raised."""
        import httpx

        headers = {"Range": f"bytes={self._done}-"} if self._done else {}
        try:  # httpx follows to the storage behind the hub, and does not send the token there
            with self._client.stream("GET", self._remote.url, headers=headers, follow_redirects=True) as response:
                if response.status_code in _PASSING:
                    return f"the server answered {response.status_code}"
                response.raise_for_status()
                if self._done and not _goes_on_at(response, self._done):
                    self._start_again(file)
                self._write(file, response.iter_raw())
        except httpx.TransportError as error:
            return str(error) or type(error).__name__
        return "" if self._done == self._remote.size else "the server ended it"

    def _write(self, file: BinaryIO, chunks: Iterator[bytes]) -> None:
        for chunk in chunks:
            if self._done + len(chunk) > self._remote.size:
                self._start_again(file)
                raise DownloadError(f"The server sends more than the {self._remote.size} bytes that it announced.")
            file.write(chunk)
            self._hash.update(chunk)
            self._done += len(chunk)
            self._progress(self._done, self._remote.size)


def _address(hub: str, endpoint: str | None) -> tuple[str, dict[str, str]]:
    """The file's URL and the headers of a request for it: our name, and the person's token if they logged in."""
    from huggingface_hub import get_token, hf_hub_url

    owner, repo, filename = hub.split("/", 2)
    token = get_token()
    headers = {"User-Agent": "phireside", "Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return hf_hub_url(f"{owner}/{repo}", filename, endpoint=endpoint), headers


def _announced(client: "httpx.Client", url: str) -> Remote:
    """Ask the hub for size and hash. They come with its redirect to the storage; a renamed repo redirects inside it."""
    response = client.head(url)
    for _ in range(_MAX_RENAMES):
        target = urljoin(url, response.headers.get("location", ""))
        if not response.is_redirect or "x-linked-size" in response.headers or urlsplit(target)[:2] != urlsplit(url)[:2]:
            break
        url = target
        response = client.head(url)
    if not response.is_redirect:
        response.raise_for_status()
    length = None if response.is_redirect else response.headers.get("content-length")
    size = response.headers.get("x-linked-size", length)
    etag = response.headers.get("x-linked-etag", response.headers.get("etag", "")).removeprefix("W/").strip('"')
    if not etag or not size or not size.isdecimal():
        raise DownloadError(f"{url} answers without size and etag, as no Hugging Face hub does.")
    return Remote(url, int(size), etag, etag if _SHA256.fullmatch(etag) else None)


def _goes_on_at(response: "httpx.Response", offset: int) -> bool:
    """True if a server that was asked for a range gives that one, and not the file from its beginning."""
    return response.status_code == 206 and response.headers.get("content-range", "").startswith(f"bytes {offset}-")


def _check_space(folder: Path, missing: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < missing + _SPARE:
        raise DownloadError(
            f"The disk of {folder} has {free / 1e9:.2f} GB free, and {(missing + _SPARE) / 1e9:.2f} GB are needed.",
            hint="Free some space, or set PHIRESIDE_DATA_DIR to a folder on another disk.",
        )


def _check(part: Path, remote: Remote, found: str) -> None:
    """Refuse, and delete, a part file that is complete but not the model that was announced: it would never heal."""
    if remote.sha256 and found != remote.sha256:
        problem = f"its sha256 is {found}, and the hub announced {remote.sha256}"
    else:
        problem = structure_problem(part)
    if problem:
        part.unlink()
        raise DownloadError(
            f"What came from {remote.url} is not the model: {problem}. Nothing of it was kept.",
            hint="Try again; if it happens again, something between you and the hub alters what you download.",
        )


@contextmanager
def _only_one(target: Path) -> Iterator[None]:
    """Two downloads into one part file would mix."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(f"{target}.lock", timeout=0):
            yield
    except Timeout as error:
        raise DownloadError(f"Another download of {target.name} is under way.", hint="Wait until it ends.") from error


@contextmanager
def _translated(hub: str, by_hand: str) -> Iterator[None]:
    """Turn what can go wrong into a DownloadError that says how to get on."""
    import httpx

    try:
        yield
    except DownloadError as error:
        error.hint = error.hint or by_hand
        raise
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        reason = _STATUS.get(code, "the hub is in trouble" if code >= 500 else "it was refused")
        raise DownloadError(f"{hub} cannot be downloaded: {reason} (HTTP {code}).", hint=by_hand) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DownloadError(f"{hub} cannot be downloaded, the hub is not reached: {error}.", hint=by_hand) from error
    except OSError as error:
        raise DownloadError(
            f"{hub} cannot be written to disk: {error.strerror or error}. What has arrived is kept.",
            hint="Free some space or set PHIRESIDE_DATA_DIR to another folder; the next pull goes on from there.",
        ) from error


def _by_hand(url: str, target: Path) -> str:
    return (
        f"To bring it by hand: open {url}?download=true in a browser, on any machine, and put the file into "
        f"{target.parent}, or give its path as the model."
    )


def _parts(target: Path) -> list[Path]:
    return list(target.parent.glob(f"{glob.escape(target.name)}.*.part"))
