"""Paths of a user's state, caches and settings. Reads the environment; imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path

from protocol.errors import UsageError

WEB_URL = "web.url"
"""File in a state directory with the address of its web server."""


def home_directory() -> Path:
    """This user's home directory, which need not exist. Raises UsageError for a user without one."""
    try:
        return Path.home()
    except RuntimeError:
        raise UsageError("this user is unknown to the system and has no home directory; set HOME") from None


def state_directory() -> Path:
    """LONGSHORE_STATE, else `longshore` below XDG_STATE_HOME, else below ~/.local/state."""
    if chosen := os.environ.get("LONGSHORE_STATE"):
        return Path(chosen).absolute()
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else home_directory() / ".local" / "state") / "longshore"


def cache_directory() -> Path:
    """`longshore` below XDG_CACHE_HOME, else below ~/.cache: whatever can be fetched or made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or home_directory() / ".cache") / "longshore"


def settings_file() -> Path:
    """LONGSHORE_CONFIG, else `longshore/config.toml` below XDG_CONFIG_HOME, else below ~/.config."""
    if chosen := os.environ.get("LONGSHORE_CONFIG"):
        return Path(chosen).absolute()
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else home_directory() / ".config") / "longshore" / "config.toml"


def pushes_directory() -> Path:
    """Bare repositories of what was pushed to Longshore itself, by project; the commits are at `refs/pushes/SHA`."""
    return state_directory() / "pushes"


def web_url(state: Path) -> str | None:
    """The address of the web server that was last started with a state directory; None if there was none."""
    try:
        return (state / WEB_URL).read_text().strip() or None
    except OSError:
        return None
