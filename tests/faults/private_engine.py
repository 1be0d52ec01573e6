"""A Docker engine of a test's own, to be killed and started: the shared one belongs to everybody else. Needs root."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
from docker.errors import DockerException

from tests.faults.network import NoNamespaces, free_net, ip
from tests.support.eventually import eventually


class NoEngine(Exception):
    """No second engine can be run here."""


class PrivateEngine:
    """A dockerd with everything in `folder`. `url` is where it listens; `alive` or not, it keeps its containers."""

    def __init__(self, folder: Path, *, live_restore: bool = False, storage: str | None = None) -> None:
        if os.geteuid() or not shutil.which("dockerd"):
            raise NoEngine("a second Docker engine needs root and dockerd")
        self.folder = folder
        self.url = f"unix://{folder}/docker.sock"
        self._bridge = f"lsd{secrets.token_hex(2)}"
        self._options = ["--live-restore"] if live_restore else []
        self._options += ["--storage-driver", storage] if storage else []
        self._process: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None
        try:
            net, self._reserved = free_net()
            ip("link", "add", self._bridge, "type", "bridge")
            ip("addr", "add", f"{net}.1/24", "dev", self._bridge)
            ip("link", "set", self._bridge, "up")
        except NoNamespaces as error:
            raise NoEngine(str(error)) from error

    def start(self) -> None:
        """Starts it and waits until it answers; containerd is another process, which an end of dockerd leaves."""
        socket = self.folder / "containerd.sock"
        if self._containerd is None:
            arguments = ["--root", str(self.folder / "root"), "--state", str(self.folder / "state")]
            self._containerd = self._spawn(["containerd", "--address", str(socket), *arguments])
            eventually(socket.exists)
        command = ["dockerd", "--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")]
        command += ["--pidfile", str(self.folder / "pid"), "-H", self.url, "--bridge", self._bridge]
        command += [
            "--containerd",
            str(socket),
            "--iptables=false",
            "--ip-masq=false",
            "--shutdown-timeout",
            "1",
            *self._options,
        ]
        (self.folder / "pid").unlink(missing_ok=True)
        self._process = self._spawn(command)
        eventually(self._answers)

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / "engine.log").open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise NoEngine((self.folder / "engine.log").read_text()[-2000:])
        with suppress(DockerException, OSError):
            client = self.client()
            client.close()
            return True
        return False

    def client(self) -> docker.DockerClient:
        """A connection to it."""
        client = docker.DockerClient(base_url=self.url)
        client.ping()
        return client

    def load(self, image: str) -> None:
        """Copies an image of the shared engine."""
        saved = subprocess.run(["docker", "save", image], check=True, capture_output=True).stdout
        subprocess.run(["docker", "-H", self.url, "load"], input=saved, check=True, capture_output=True)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it, by SIGTERM as `systemctl stop` does, or by SIGKILL."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(30)

    def close(self) -> None:
        """Removes all of it."""
        self.stop()
        if self._containerd is not None:
            self._containerd.terminate()
            self._containerd.wait(30)
        ip("link", "del", self._bridge)
        self._reserved.close()
        for line in Path("/proc/mounts").read_text().splitlines():
            mounted = line.split()[1]
            if mounted.startswith(str(self.folder) + "/"):
                subprocess.run(["umount", "-l", mounted], check=False, capture_output=True)


@contextmanager
def private_engine(folder: Path, **options: object) -> Iterator[PrivateEngine]:
    """An engine that runs and has no images, gone afterwards. Raises NoEngine."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = PrivateEngine(folder, **options)  # type: ignore[arg-type]
    try:
        engine.start()
        yield engine
    finally:
        engine.close()
