"""Installs the peers that Longshore is compared with, each into its own environment below a cache directory.

An unavailable peer raises Missing with the reason, which the table shows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Missing

DASK = "distributed==2026.8.0"
GITLAB_CI_LOCAL = ["gitlab-ci-local@4.75.1", "node@24"]
"""It needs a newer Node than many systems have, so Node is installed from the registry too."""
INSTALL_SECONDS = 300.0


class Peers:
    """Peers by name, installed on first use; `none` disables all of them."""

    def __init__(self, *, none: bool = False) -> None:
        self._none = none
        self._cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "longshore-bench"

    def dask(self) -> list[str]:
        """A Python with Dask's `distributed`."""

        def install(place: Path) -> None:
            _run([sys.executable, "-m", "venv", str(place)])
            _run([str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", DASK])

        return [str(self._install(DASK, install) / "bin" / "python")]

    def gitlab_ci_local(self) -> list[str]:
        """The command gitlab-ci-local."""

        def install(place: Path) -> None:
            place.mkdir()
            _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(place), *GITLAB_CI_LOCAL])

        modules = self._install(" ".join(GITLAB_CI_LOCAL), install, needs="rsync") / "node_modules"
        return [str(modules / ".bin" / "node"), str(modules / "gitlab-ci-local" / "dist" / "index.js")]

    def _install(self, what: str, install: Callable[[Path], None], needs: str | None = None) -> Path:
        """The peer's directory. `needs` names a required program that no registry provides."""
        if self._none:
            raise Missing("peers are disabled")
        if needs and shutil.which(needs) is None:
            raise Missing(f"it needs {needs}, which is not installed")
        place = self._cache / what.replace("@", "-").replace("==", "-").replace(" ", "-")
        if not place.exists():
            self._cache.mkdir(parents=True, exist_ok=True)
            print(f"installing {what} into {place}", file=sys.stderr)
            try:
                install(place)
            except Missing:
                shutil.rmtree(place, ignore_errors=True)
                raise
        return place


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=INSTALL_SECONDS, text=True, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]}: {error}") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
        raise Missing(f"{Path(command[0]).name}: {last[-1]}")
