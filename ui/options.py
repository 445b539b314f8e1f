"""The options that `phireside ui` starts Streamlit with: where it listens, what it shows of errors, its colours.

Streamlit looks for `.streamlit/config.toml` in the working directory and not in an installed package, so the options
travel as command-line flags. This module does not import Streamlit.
"""

from pathlib import Path

SCRIPT = Path(__file__).with_name("app.py")

STREAMLIT_OPTIONS: dict[str, str | int | float | bool | list[str]] = {
    "server.address": "127.0.0.1",
    "server.allowedHosts": ["127.0.0.1", "localhost"],  # a public name that resolves to 127.0.0.1 is turned away
    "server.headless": True,
    "server.fileWatcherType": "none",  # llama.cpp needs the processor more
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "runner.magicEnabled": False,
    "runner.postScriptGC": False,  # a full collection after every script run holds up a model that loads
    "theme.baseRadius": "0.7rem",
    "theme.headingFont": "serif",
    "theme.headingFontWeights": ["600"] * 6,
    "theme.showWidgetBorder": True,
    "theme.light.primaryColor": "#a8431c",
    "theme.light.backgroundColor": "#fdfaf6",
    "theme.light.secondaryBackgroundColor": "#f4ece2",
    "theme.light.textColor": "#2c2420",
    "theme.light.linkColor": "#96390f",
    "theme.light.borderColor": "#e3d6c6",
    "theme.light.codeBackgroundColor": "#f6efe6",
    "theme.light.codeTextColor": "#8a3a14",
    "theme.light.sidebar.backgroundColor": "#f4ece2",
    "theme.light.sidebar.secondaryBackgroundColor": "#fdfaf6",
    "theme.dark.primaryColor": "#bc5822",
    "theme.dark.backgroundColor": "#1c1816",
    "theme.dark.secondaryBackgroundColor": "#292320",
    "theme.dark.textColor": "#eee5da",
    "theme.dark.linkColor": "#f0a274",
    "theme.dark.borderColor": "#40362f",
    "theme.dark.codeBackgroundColor": "#241f1c",
    "theme.dark.codeTextColor": "#f0b48c",
    "theme.dark.sidebar.backgroundColor": "#231e1b",
    "theme.dark.sidebar.secondaryBackgroundColor": "#1c1816",
}


def streamlit_flags(**more: str | int | float | bool | list[str]) -> list[str]:
    """The options as flags of `streamlit run`.

    Args:
        more: options that are added or win, with `__` for the dot: `server__port=8501`.

    Returns:
        `["--server.address", "127.0.0.1", …]`; an option with several values has one flag for each.
    """
    options = STREAMLIT_OPTIONS | {name.replace("__", "."): value for name, value in more.items()}
    flags = []
    for name, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            flags += [f"--{name}", str(item).lower() if isinstance(item, bool) else str(item)]
    return flags
