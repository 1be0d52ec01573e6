"""The bare repositories that Longshore serves, one for each project, and how git is run in them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from protocol.errors import LongshoreError
from protocol.keys import PRIVATE_DIRECTORY
from web.git import relay

MAX_PUSH_BYTES = 2 << 30
"""Largest pack of one push."""
HOOKS = ("pre-receive", "post-receive")
DEFAULT_BRANCH = "main"


class Repositories:
    """The repositories below `root`. `socket` is where their hooks reach the web server. Its methods block."""

    def __init__(self, root: Path, run_directory: Path) -> None:
        self._root = root
        self._hooks = run_directory / "hooks"
        self.socket = run_directory / "pushes.sock"

    def prepare(self) -> None:
        """Writes the hooks that all repositories share."""
        self._root.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
        self._hooks.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
        for hook in HOOKS:
            command = shlex.join([sys.executable, "-I", "-S", str(Path(relay.__file__)), hook])
            path = self._hooks / hook
            path.write_text(f"#!/bin/sh\nexec {command}\n")
            path.chmod(0o700)

    def path(self, project: str) -> Path:
        """The repository of a project, whose name has been checked."""
        return self._root / f"{project}.git"

    def make(self, project: str, default_branch: str) -> Path:
        """The repository of a project, which is made if it is missing. Raises LongshoreError."""
        path = self.path(project)
        if not (path / "HEAD").exists():
            path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
            branch = default_branch or DEFAULT_BRANCH
            self.git(path, "init", "--quiet", "--bare", f"--initial-branch={branch}")
        return path

    def git(self, path: Path, *arguments: str) -> str:
        """Runs git in a repository. Raises LongshoreError with what it says."""
        done = subprocess.run(
            ["git", *arguments], cwd=path, env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True
        )
        if done.returncode:
            raise LongshoreError(f"git {arguments[0]} in {path}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode(errors="replace")

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of git: this process's PATH, no configuration but ours."""
        settings: Mapping[str, str] = {
            "core.hooksPath": str(self._hooks),
            "gc.autoDetach": "false",
            "http.receivepack": "true",
            "receive.advertisePushOptions": "true",
            "receive.hideRefs": "refs/pushes",
            "receive.maxInputSize": str(MAX_PUSH_BYTES),
            "uploadpack.hideRefs": "refs/pushes",
        }
        numbered: dict[str, str] = {"GIT_CONFIG_COUNT": str(len(settings))}
        for number, (key, value) in enumerate(settings.items()):
            numbered |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        own = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": str(self._root)}
        quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
        return own | quiet | numbered | more
