"""Paths of a user's files."""

from __future__ import annotations

import os

import pytest

from protocol.errors import UsageError
from protocol.places import cache_directory, settings_file, state_directory


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LONGSHORE_STATE", "LONGSHORE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: (1 << 31) - 7)  # a user of no name
    for place in (state_directory, cache_directory, settings_file):
        with pytest.raises(UsageError, match="no home directory; set HOME"):
            place()
