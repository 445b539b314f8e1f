"""All settings, in one frozen object that is built once at the edge and passed on.

Sources, weakest first: the defaults below, `phireside.toml` (the user's, then the working directory's), `PHIRESIDE_*`
environment variables (`PHIRESIDE_ENGINE__N_CTX` for a nested one), and arguments.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as SourceError

from phireside.errors import SettingsError
from phireside.paths import config_files, default_data_dir

KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
LARGEST_DEFAULT_CONTEXT = 8192  # tokens; more only if n_ctx asks for it
CHEAP_CACHE_BYTES = 512e6
ENV_PREFIX = "PHIRESIDE_"
HINT = "They come from phireside.toml, PHIRESIDE_* environment variables and arguments; docs/settings.md lists them."


def _absolute(path: Path) -> Path:
    """`~` is the home folder, and a later change of the working directory moves nothing."""
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:  # "~name" of a person who is not known here
        raise ValueError(str(error)) from error


class EngineSettings(BaseModel):
    """How a model is loaded. Two chats with equal engine settings on one file share one engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_ctx: int = Field(0, ge=0, description="Tokens one conversation may hold; 0 = the model's own, at most 8192.")
    n_gpu_layers: int = Field(-1, ge=-1, description="Layers to put on the GPU; -1 = all. Ignored by a CPU build.")
    n_threads: int = Field(0, ge=0, description="Threads for generating; 0 = chosen from the number of cores.")
    n_threads_batch: int = Field(0, ge=0, description="Threads for reading prompts; 0 = all physical cores.")
    n_batch: int = Field(256, ge=1, le=4096, description="Most tokens evaluated in one step.")
    n_sequences: int = Field(8, ge=1, le=64, description="Threads of thought that may run or be parked at once.")
    cache_tokens: int = Field(
        0, ge=0, description="Tokens in the KV cache, all sequences together; 0 = one to four n_ctx."
    )
    max_waiting: int = Field(64, ge=1, description="Requests that may wait before new ones are refused.")
    flash_attn: Literal["auto", "on", "off"] = Field(
        "auto", description="Flash attention; a quantized type_v needs it."
    )
    type_k: KvType = Field("f16", description="Type of the keys in the KV cache; q8_0 halves their memory.")
    type_v: KvType = Field("f16", description="Type of the values in the KV cache.")
    use_mmap: bool = Field(True, description="Map the model's file into memory instead of reading it.")
    draft_tokens: int = Field(
        0, ge=0, le=32, description="Prompt lookup: most tokens guessed ahead in one step; 0 = off."
    )
    kv_disk_bytes: int = Field(
        2_000_000_000, ge=0, description="Bytes of conversations' KV state kept on disk; 0 = none."
    )
    idle_unload_s: float = Field(900.0, ge=0, description="Seconds without a request until memory is freed; 0 = never.")

    def context(self, trained: int | None) -> int:
        """Tokens that one conversation may hold, for a model trained on `trained` tokens (None: not known)."""
        return self.n_ctx or min(trained or LARGEST_DEFAULT_CONTEXT, LARGEST_DEFAULT_CONTEXT)

    def cells(self, n_ctx: int, bytes_per_token: float) -> int:
        """Tokens in the KV cache. Where it is cheap, up to four conversations stay in it side by side."""
        affordable = CHEAP_CACHE_BYTES / max(1.0, bytes_per_token * n_ctx)  # a recurrent model's cache costs nothing
        return max(self.cache_tokens, n_ctx) if self.cache_tokens else n_ctx * max(1, min(4, int(affordable)))


class ToolSettings(BaseModel):
    """What the tools of an agent may reach."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folders: tuple[Annotated[Path, AfterValidator(_absolute)], ...] = Field(
        (), description="Folders in which the tool read_file may read; without one it cannot be switched on."
    )
    searxng_url: str = Field(
        "", description="A SearXNG server for the tool web_search; empty = public search engines, by ddgs."
    )
    mcp_file: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        None, description="JSON file that names MCP servers (mcpServers); none = mcp.json in data_dir."
    )


class LoginSettings(BaseModel):
    """Who may use the pages; docs/login.md. Without `secrets` there is no login, and they are for this machine only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    secrets: Annotated[Path, AfterValidator(_absolute)] | None = Field(
        None, description="Streamlit's secrets file, with a table [auth]; none = no login, and pages for this machine."
    )
    provider: str = Field("default", description="Name of the provider's table in that file; default = [auth] itself.")
    people: tuple[str, ...] = Field(
        (), description="Who may log in: e-mail addresses, @domains or subjects; none = all whom the provider lets in."
    )
    admins: tuple[str, ...] = Field(
        (), description="Who may read folders of this machine and manage models: e-mail addresses or subjects."
    )


class Settings(BaseSettings):
    """Everything that can be set. Frozen; `Settings(model="starter")` overrides the other sources.

    Raises:
        SettingsError: a value cannot be used (the message names the setting and where its value came from), or a
            `phireside.toml` cannot be read (it names the file).
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", env_ignore_empty=True
    )

    data_dir: Annotated[Path, AfterValidator(_absolute)] = Field(
        default_factory=default_data_dir, description="Conversations and downloaded models; default: the platform's."
    )
    model: str = Field("auto", description="Catalogue name, path to a .gguf, hf:owner/repo/file.gguf or openai:MODEL.")
    system_prompt: str = Field(
        "You are a helpful assistant.", description="System prompt of a chat that has none of its own; empty = none."
    )
    memory: str = Field("buffer", description="Which messages a chat sends: buffer, window, summary or summary_buffer.")
    embeddings: str = Field("starter", description="Model of new document bases: starter, a name, or a folder.")
    engine: EngineSettings = EngineSettings()
    tools: ToolSettings = ToolSettings()
    login: LoginSettings = LoginSettings()
    # What may hold a password or a key is kept out of repr() and of error messages.
    database_url: str = Field(
        "", repr=False, description="SQLAlchemy URL of the conversations; empty = SQLite in data_dir."
    )
    openai_base_url: str = Field("", description="Server for openai:MODEL, e.g. http://127.0.0.1:8080/v1.")
    openai_api_key: SecretStr = Field(SecretStr(""), repr=False, description="Key for that server, if it wants one.")
    port: int = Field(8501, ge=1, le=65535, description="Port of the chat page, on 127.0.0.1.")

    _common: Path | None = PrivateAttr(None)  # the data folder of everybody, if these are one person's settings

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = "; ".join(_problem(each, values) for each in error.errors(include_url=False))
            raise SettingsError(f"The settings cannot be used: {problems}.", hint=HINT) from error
        except SourceError as error:  # a nested setting in the environment that is not JSON
            problem = str(error).replace('source "EnvSettingsSource"', "the environment: it is no JSON")
            raise SettingsError(f"The settings cannot be used: {problem}.", hint=HINT) from error

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (the base class's signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then phireside.toml."""
        return init_settings, env_settings, _TomlFiles(settings_cls, toml_file=config_files(), deep_merge=True)

    def for_person(self, issuer: str, subject: str, *, admin: bool = False) -> "Settings":
        """The settings of a person who logged in: their data in a folder of their own, models and MCP file common.

        Args:
            issuer: who vouches for them: the claim `iss` of OpenID Connect.
            subject: who they are to the issuer, for good: the claim `sub`.
            admin: whether their tools may read `tools.folders`.

        Raises:
            SettingsError: `database_url` is set, which would be one store for all.
        """
        if self.database_url:
            raise SettingsError(
                "With a login each person's conversations are in a SQLite file of their own, and database_url is set.",
                hint="Remove database_url, or the setting login.secrets.",
            )
        name = hashlib.sha256(json.dumps([issuer, subject]).encode()).hexdigest()[:32]
        tools = self.tools if admin else self.tools.model_copy(update={"folders": ()})
        found = self.model_copy(update={"data_dir": self.common_dir / "people" / name, "tools": tools})
        found._common = self.common_dir
        return found

    @property
    def common_dir(self) -> Path:
        """The data folder of everybody: models, their KV state and the MCP file are there once."""
        return self._common or self.data_dir

    @property
    def models_dir(self) -> Path:
        """Where downloaded models lie."""
        return self.common_dir / "models"

    @property
    def model_hashes(self) -> Path:
        """Where it is kept which files were checked."""
        return self.common_dir / "model-hashes.json"

    @property
    def bases_dir(self) -> Path:
        """Where bases of documents lie, each in a folder of its name."""
        return self.data_dir / "bases"

    @property
    def state_dir(self) -> Path:
        """Where models' KV state is kept: a cache, which may be deleted at any time."""
        return self.common_dir / "kv"

    @property
    def runs_dir(self) -> Path:
        """Where results of scenarios and evaluations are kept."""
        return self.data_dir / "runs"

    @property
    def scenarios_dir(self) -> Path:
        """Where the person's own scenarios lie."""
        return self.data_dir / "scenarios"

    @property
    def mcp_file(self) -> Path:
        """The JSON file that names MCP servers."""
        return self.tools.mcp_file or self.common_dir / "mcp.json"

    @property
    def mcp_approvals(self) -> Path:
        """Where it is kept what a person approved of MCP servers."""
        return self.data_dir / "mcp_approved.json"

    @property
    def conversations_url(self) -> str:
        """The SQLAlchemy URL of the conversation store."""
        return self.database_url or "sqlite:///" + quote(str(self.data_dir / "conversations.db"), safe="/:\\")


class _TomlFiles(TomlConfigSettingsSource):
    """pydantic-settings' source; a file that cannot be read is named."""

    def _read_file(self, path: Path | Traversable) -> dict[str, Any]:
        try:
            return super()._read_file(path)
        except (OSError, ValueError) as error:  # no rights, not UTF-8, not TOML
            raise SettingsError(
                f"{path} cannot be read: {error}.", hint="Correct it, or move it away to use the defaults."
            ) from error


def _problem(problem: ErrorDetails, values: dict[str, Any]) -> str:
    """One problem of a failed validation: the setting, its source, what is wrong, and the value unless secret."""
    names = [str(part) for part in problem["loc"]]
    field = Settings.model_fields.get(names[0])
    reason = "there is no such setting" if problem["type"] == "extra_forbidden" else problem["msg"]
    shown = f" (got {str(problem['input'])[:80]!r})" if field is not None and field.repr else ""
    return f"{'.'.join(names)}, from {_source(names, values)}: {reason}{shown}"


def _source(names: list[str], values: dict[str, Any]) -> str:
    """Which source gave a setting its value: the strongest that has it."""
    return "an argument" if names[0] in values else variable_of(names) or "phireside.toml"


def variable_of(path: Sequence[str]) -> str:
    """The environment variable that gives a setting, as it is written; empty if none does.

    A table may be given as a whole, and case does not count.
    """
    found = {name.upper(): name for name, value in os.environ.items() if value}
    names = (f"{ENV_PREFIX}{'__'.join(path[:depth])}".upper() for depth in range(len(path), 0, -1))
    return next((found[name] for name in names if name in found), "")
