"""Row 23: a parser that crashes or never ends fails one file; nothing outside is read for it; mutations do no harm."""

import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from papers import CONTAINER, FOX, docx, epub, pdf, with_body, zipped
from websites import site

from phireside.errors import DocumentError
from phireside.retrieval.loading import Loaded, LoadLimits, load_bytes, process

Figure = Callable[[int, str], None]

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
PAGE = (
    f"<html><head><title>t</title></head><body><h1>h</h1><p>{FOX * 3}</p><ul><li>a</ul><table><tr><td>b</table></body>"
)
GOOD = {
    "a.txt": (FOX * 20).encode(),
    "a.md": f"# A\n\n{FOX}\n\n```\ncode\n```\n\nB\n=\n\n- c\n".encode(),
    "a.html": PAGE.encode(),
    "a.csv": b"name,born\nAda,1815\n" * 20,
    "a.pdf": pdf([FOX, FOX], [("a", 1), ("b", 2)], title="t"),
    "a.docx": docx(),
    "a.epub": epub({"a.xhtml": PAGE, "b.xhtml": PAGE}),
}
LIMITS = LoadLimits(seconds=60, memory_bytes=400_000_000)


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Parsers of tests/plugins/breaking_parsers.py can be asked for."""
    process.end_children()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent.parent / "plugins"))
        yield
    process.end_children()


def test_one_session_s_crashing_file_does_not_touch_another_s(breaking: None, figure: Figure) -> None:
    """Files are read all the time while parsers crash, leave and loop beside them."""
    ended, faults, good = threading.Event(), [0], [0]

    def break_down() -> None:
        limits = {"seconds": 1, "memory_bytes": 300_000_000, "answer_bytes": 1000}
        for parser in ("crash", "leave", "loop", "crash", "recurse", "crash"):
            with pytest.raises(DocumentError):
                process.run(f"breaking_parsers:{parser}", b"", {}, **limits)
            faults[0] += 1
        ended.set()

    other = threading.Thread(target=break_down)
    other.start()
    while not ended.is_set():
        assert load_bytes("a.md", GOOD["a.md"], LIMITS).sections
        good[0] += 1
    other.join()
    assert faults[0] == 6
    figure(23, f"0 of {good[0]} files touched by {faults[0]} crashes, exits and loops beside them")


def outside(url: str, secret: Path) -> dict[str, bytes]:
    """Documents that refer to an address and to a file, in every way that their formats have."""
    entities = (
        f'<!ENTITY a SYSTEM "{url}/entity"><!ENTITY b SYSTEM "{secret.as_uri()}"><!ENTITY % c SYSTEM "{url}/p"> %c;'
    )
    entities = f"<!DOCTYPE x [{entities}]>"
    dtd = f'<!DOCTYPE html PUBLIC "-//x//DTD" "{url}/dtd">'
    page = f"<html><head><link rel='stylesheet' href='{url}/css'><base href='{url}/'></head><body><p>{FOX} &a; &b;</p>"
    page += f"<img src='{url}/img'><iframe src='{url}/frame'></iframe><object data='{secret.as_uri()}'></object></body>"
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" parse="text" href="{secret.as_uri()}"/>'
    paragraph = f"<w:p><w:r><w:t>x &a; &b; {include}</w:t></w:r></w:p>"
    plain = f'<w:document xmlns:w="{WORD}"><w:body>{paragraph}</w:body></w:document>'
    sheet = f'<?xml-stylesheet href="{url}/xsl"?>'
    action = f"/OpenAction << /S /URI /URI ({url}/uri) >> /Type /Catalog".encode()
    return {
        "a.html": f"{entities}{page}".encode(),
        "b.html": f"{dtd}{page}".encode(),
        "c.html": f"<?xml version='1.0'?>{entities}{page}".encode(),
        "a.docx": with_body(entities + plain),
        "b.docx": with_body((entities + plain).encode("utf-16")),
        "c.docx": with_body(dtd + sheet + plain.replace("&a; &b;", "")),
        "a.epub": epub({"a.xhtml": entities + page}),
        "b.epub": epub({"a.xhtml": dtd + include + page}),
        "c.epub": epub({"a.xhtml": page}, container=entities + CONTAINER.replace("OEBPS", "&b;OEBPS")),
        "d.epub": epub({f"{url}/chapter": page, "../../../../../../.." + str(secret): page}),
        "a.pdf": pdf().replace(b"/Type /Catalog", action),
        "a.md": f"![x]({url}/md)\n\n{FOX}".encode(),
    }


def test_nothing_outside_a_document_is_read_for_it(loopback: None, tmp_path: Path, figure: Figure) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the-secret-of-this-machine")
    with site({"*": (200, {}, b"the-secret-of-this-machine")}) as canary:
        cases = outside(canary.url, secret)
        texts = [read_or_refused(name, data) for name, data in cases.items()]
    assert canary.hits == []
    assert not [text for text in texts if "the-secret" in text]
    assert sum(bool(text) for text in texts) >= 5  # most are read all the same
    figure(23, f"0 of {len(cases)} documents had an address or a file read for them")


def read_or_refused(name: str, data: bytes) -> str:
    """The text of a document; empty if it is refused, in a few words. Anything else is a fault."""
    try:
        loaded = load_bytes(name, data, LIMITS)
    except DocumentError as error:
        return "" if len(error.message) < 600 else error.message
    assert isinstance(loaded, Loaded)
    assert all(section.text for section in loaded.sections)
    loaded.text.encode()  # no lone surrogates
    return loaded.text


MUTATIONS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["flip", "cut", "repeat", "zero", "insert"]), st.binary(max_size=8)),
    min_size=1,
    max_size=6,
)


def worse(name: str, mutations: list[tuple[float, str, bytes]], inside: bool) -> bytes:
    """A mutated file; of an archive one of its files, if wanted: else its checksums see to most."""
    data = GOOD[name]
    if not inside or not data.startswith(b"PK"):
        return mutated(data, mutations)
    archive = zipfile.ZipFile(io.BytesIO(data))
    files = {entry: archive.read(entry) for entry in archive.namelist()}
    entry = list(files)[int(mutations[0][0] * (len(files) - 1))]
    return zipped(files | {entry: mutated(files[entry], mutations)})


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MUTATIONS, st.booleans())
def test_mutations_of_a_good_file_are_read_or_refused(
    name: str, mutations: list[tuple[float, str, bytes]], inside: bool
) -> None:
    read_or_refused(name, worse(name, mutations, inside))


def mutated(data: bytes, mutations: list[tuple[float, str, bytes]]) -> bytes:
    for share, how, extra in mutations:
        at = int(share * (len(data) - 1)) if data else 0
        part = data[at : at + 1 + 50 * len(extra)]
        rest = data[at + len(part) :]
        new = {"flip": bytes(each ^ 0x20 for each in part), "cut": b"", "repeat": part * 5, "zero": bytes(len(part))}
        data = data[:at] + new.get(how, extra + part) + rest
    return data


@pytest.mark.slow
def test_ten_thousand_mutations(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a seeded generator, which is quicker than hypothesis; `died` counts readers that ended without an answer."""
    chance, died, read = Random(23), 0, 0
    started = process._Child.__init__

    def counted(child: process._Child) -> None:
        nonlocal died
        died += 1
        started(child)

    monkeypatch.setattr(process._Child, "__init__", counted)
    monkeypatch.setattr(process, "_JOBS", 10**9)
    hows = ["flip", "cut", "repeat", "zero", "insert"]
    for number in range(10_000):
        name = list(GOOD)[number % len(GOOD)]
        mutations = [(chance.random(), chance.choice(hows), chance.randbytes(chance.randrange(9))) for _ in range(3)]
        read += bool(read_or_refused(name, worse(name, mutations, number % 2 > 0)))
    readers = f"{died} readers were started for it"
    figure(23, f"0 deaths of the program in 10,000 mutated files; {read} read, {10_000 - read} refused; {readers}")
