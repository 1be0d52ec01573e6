"""A site for tests: a coordinator and a web server, processes both, and requests to them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3

from protocol import messages as m
from protocol.client import Client
from protocol.projects import ProjectSpec, TriggerView
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import Process, System
from tests.web.hooks.deliveries import SECRET


class Site:
    """One coordinator and one web server in a folder. Use in a `with` block."""

    def __init__(self, folder: Path, *options: str, docker: bool = False) -> None:
        self.system = System(folder, extra={} if docker else {"DOCKER_HOST": "unix:///nonexistent/docker.sock"})
        self.coordinator = self.system.start_coordinator()
        self._options = ["--bind", "127.0.0.1:0", *options]
        self.start_web()

    def start_web(self) -> Process:
        """Starts the web server, at the same address as before if there was one."""
        self.web = self.system.start("web", *self._options, name="web")
        self.url = eventually(self.web.printed)
        parts = urlsplit(self.url)
        self._options[1] = f"127.0.0.1:{parts.port}"
        self.place = ("127.0.0.1", parts.port or 0)
        return self.web

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_error: object) -> None:
        self.system.stop()

    def client(self) -> Client:
        """The owner's client, to be closed by the caller."""
        assert self.system.address is not None
        return Client(self.system.address, timeout=DEADLINE)

    def add_project(self, name: str, url: str = "https://forge.example/team/app.git", secret: str = SECRET) -> None:
        """Adds a project with a hook secret. Its name must be new to the site."""
        with self.client() as client:
            client.request(m.AddProject, m.Done, project=ProjectSpec(name=name, url=url), hook_secret=secret)

    def change_project(self, name: str, **changes: Any) -> None:
        """Changes a project."""
        with self.client() as client:
            client.request(m.ChangeProject, m.Done, name=name, **changes)

    def triggers(self, project: str) -> list[TriggerView]:
        """A project's triggers, newest first."""
        with self.client() as client:
            return client.request(m.ListTriggers, m.TriggerList, project=project).triggers

    def post(self, path: str, headers: Mapping[str, str], body: bytes, **options: Any) -> urllib3.BaseHTTPResponse:
        """Sends one request, on a connection of its own."""
        with urllib3.PoolManager(retries=False, **options) as pool:
            return pool.request("POST", self.url + path, headers=dict(headers), body=body, timeout=DEADLINE)

    def hook(self, project: str, signed: tuple[Mapping[str, str], bytes]) -> urllib3.BaseHTTPResponse:
        """Delivers a webhook."""
        return self.post(f"/hooks/{project}", *signed)

    def connect(self) -> socket.socket:
        """A bare connection to the web server."""
        connection = socket.create_connection(self.place, timeout=DEADLINE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed a connection; reads what it has sent."""
    connection.settimeout(0)
    try:
        while connection.recv(4096):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        pass
    return True
