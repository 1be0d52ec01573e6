"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg


def programs() -> Path | None:
    """The directory of the newest PostgreSQL that Debian's packages have installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Cluster:
    """A private PostgreSQL server on a free port, run by the user `postgres` in a directory of its own."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._directory = Path(tempfile.mkdtemp(prefix="longshore-postgres-", dir="/tmp"))
        self._names = itertools.count(1)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        if os.geteuid() == 0:
            shutil.chown(self._directory, "postgres")
        data = str(self._directory / "data")
        self._run("initdb", "-D", data, "-U", "longshore", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*as_postgres, str(self._programs / program), *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
            timeout=60,
        )

    def _control(self, *arguments: str) -> None:
        log = str(self._directory / "log")
        self._run("pg_ctl", "-D", str(self._directory / "data"), "-l", log, "-w", *arguments)

    def start(self) -> None:
        """Starts the server and waits until it takes connections."""
        self._control("-o", f"-p {self.port} -k {self._directory} -h 127.0.0.1 -F", "start")

    def stop(self) -> None:
        """Stops the server, whoever is connected."""
        self._control("-m", "immediate", "stop")

    def remove(self) -> None:
        """Stops it and removes its files."""
        self.stop()
        shutil.rmtree(self._directory)

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"longshore_{next(self._names)}"
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="longshore", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://longshore@127.0.0.1:{self.port}/{name}"
