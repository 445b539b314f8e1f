"""Where Phireside keeps its files: the platform's own folders, never the checkout."""

from pathlib import Path

import platformdirs

from phireside.errors import SettingsError


def default_data_dir() -> Path:
    """The platform's folder for application data, e.g. `~/.local/share/phireside`."""
    return platformdirs.user_data_path("phireside", appauthor=False)


def config_files() -> list[Path]:
    """The `phireside.toml` files that are read, weakest first: the user's, then the one in the working directory."""
    return [platformdirs.user_config_path("phireside", appauthor=False) / "phireside.toml", Path("phireside.toml")]


def ensure_dir(path: Path) -> Path:
    """Create a folder and its parents if needed, and return it.

    Raises:
        SettingsError: the folder cannot be created (no rights, read-only disk, a file of that name).
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise SettingsError(
            f"The folder {path} cannot be created: {getattr(error, 'strerror', error)}.",
            hint="Set PHIRESIDE_DATA_DIR to a folder that you may write to.",
        ) from error
    return path
