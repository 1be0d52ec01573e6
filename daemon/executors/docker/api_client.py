"""A client for a Docker engine's HTTP API. Handles requests and streams, not jobs.

The docker SDK provides contexts and registry credentials; the requests are made here, because a job is a handful of
calls and the SDK's way through `requests` costs each some milliseconds, and because its readers of logs and archives
go frame by frame. Each request has its own connection (50 us on a Unix socket), so a restarted engine leaves no stale
ones. All our requests are idempotent (containers have names), so a broken one is repeated.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from protocol.backoff import Backoff
from protocol.errors import EngineUnavailable, LongshoreError

DEFAULT_URL = "unix:///var/run/docker.sock"
CALL_TIMEOUT = 120.0
"""Seconds that the engine may take to answer; waiting for a container and reading a log have no limit."""
FIRST_DELAY, LONGEST_DELAY = 0.05, 2.0
"""Seconds between attempts to reach an absent engine."""
KEEPALIVE_SECONDS = 60
"""Seconds of silence before a remote engine is probed."""
BUFFER_BYTES = 1 << 20
MOST_MESSAGE = 64 << 10
"""Limit in bytes of an error's message that ends with its connection."""
CREATE_TRIES = 5
REMOVAL_SECONDS = 600.0
"""Seconds to wait for a removal by another client: the engine takes minutes for a container with many files."""
GOING = ("removing", "dead")
"""States of a container whose removal has begun: it can't be started, and its log can't be read."""
UP = ("running", "paused", "restarting")
"""States of a container that has processes, or will have some again without our doing."""
TIMED_OUT, BAD_ANSWER = 504, 502
"""Statuses of errors that are not from the engine: it did not answer in time, or not in JSON."""

GO_DIRECTORY, GO_SYMLINK = 1 << 31, 1 << 27
"""Bits of Go's `FileMode`, which the engine uses."""

T = TypeVar("T")
Query = Mapping[str, str | int]


class EngineError(LongshoreError):
    """The engine answered with an error, or not in time; `message` is the engine's own, if any."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


GONE = (ConnectionError, FileNotFoundError, http.client.HTTPException)
"""Exceptions of a request when no engine answers, or when it goes away before its answer is complete."""


class Endpoint(msgspec.Struct, frozen=True):
    """An engine's address: a Unix socket's `path`, or `host` and `port`."""

    url: str
    path: str = ""
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None

    @property
    def local(self) -> bool:
        """Whether this host can reach the engine's containers by their addresses."""
        return bool(self.path)

    def connect(self, timeout: float | None) -> socket.socket:
        """A connected socket. Raises OSError."""
        if self.path:
            unix = socket.socket(socket.AF_UNIX)
            try:
                unix.settimeout(timeout)
                unix.connect(self.path)
            except BaseException:
                unix.close()
                raise
            return unix
        plain = socket.create_connection((self.host, self.port), timeout=timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
        return self.tls.wrap_socket(plain, server_hostname=self.host) if self.tls else plain


def find_endpoint(url: str | None) -> Endpoint:
    """The engine at `url`, or the default of Docker's own tools: DOCKER_HOST, the current context, the default.

    Raises EngineUnavailable for an unsupported kind of address.
    """
    if url is None:
        url = os.environ.get("DOCKER_HOST") or _context_url() or DEFAULT_URL
    parts = urlsplit(url)
    if parts.scheme in ("unix", "http+unix"):
        return Endpoint(url=url, path=parts.path or parts.netloc)
    if parts.scheme in ("tcp", "http", "https") and parts.hostname:
        secure = parts.scheme == "https" or bool(os.environ.get("DOCKER_TLS_VERIFY"))
        tls = _tls_context() if secure else None
        return Endpoint(url=url, host=parts.hostname, port=parts.port or (2376 if tls else 2375), tls=tls)
    raise EngineUnavailable(f"can't use a Docker engine at {url!r}: give unix:///PATH or tcp://HOST:PORT (DOCKER_HOST)")


def _context_url() -> str | None:
    """The URL chosen by DOCKER_CONTEXT or `docker context use`, if any. Raises EngineUnavailable."""
    name = os.environ.get("DOCKER_CONTEXT")
    if name is None:
        directory = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
        try:
            name = json.loads((directory / "config.json").read_bytes()).get("currentContext")
        except (OSError, ValueError, AttributeError):
            return None
    if not name or name == "default":
        return None
    from docker.context import ContextAPI  # takes 45 ms to import, and contexts are rare

    try:
        context = ContextAPI.get_context(name)
    except Exception as error:  # of many kinds, with no common base
        raise EngineUnavailable(f"can't use Docker's context {name!r}: {error}") from error
    if context is None:
        raise EngineUnavailable(f"there is no Docker context {name!r}: see `docker context ls`, or set DOCKER_HOST")
    return str(context.Host)


def _tls_context() -> ssl.SSLContext:
    """As Docker's own tools do: ca.pem, cert.pem and key.pem of DOCKER_CERT_PATH."""
    directory = Path(os.environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context


class _Connection(http.client.HTTPConnection):
    """One request to an endpoint, for `http.client` alone supports only TCP."""

    def __init__(self, endpoint: Endpoint, timeout: float | None) -> None:
        super().__init__(endpoint.host or "docker", timeout=timeout, blocksize=BUFFER_BYTES)
        self._endpoint = endpoint

    def connect(self) -> None:
        self.sock = self._endpoint.connect(self.timeout)


class NameTaken(EngineError):
    """The container name that we need is taken by a container of another owner."""

    def __init__(self, name: str) -> None:
        super().__init__(
            409,
            f"a container named {name}, not created by this worker, exists: rename it (docker rename {name} OTHER)",
        )


class Created(NamedTuple):
    """A container's id; `made`: created just now, otherwise it existed."""

    id: str
    made: bool


class DockerClient:
    """One Docker engine. Thread-safe: it keeps no connection.

    `patience` is how many seconds a request waits for an absent engine (restarted, upgraded) before it raises
    EngineUnavailable.
    """

    def __init__(self, url: str | None = None, *, patience: float = 120.0) -> None:
        self.endpoint = find_endpoint(url)
        self._patience = patience

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        timeout: float | None = CALL_TIMEOUT,
        patience: float | None = None,
    ) -> Any:
        """The engine's answer, decoded from JSON; None for an empty one. Raises EngineError, EngineUnavailable."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}

        def attempt() -> Any:
            with self._request(method, _url(path, query), data, headers, timeout) as response:
                answer = response.read()
            try:
                return json.loads(answer) if answer.strip() else None
            except ValueError:
                raise EngineError(BAD_ANSWER, f"its answer to {method} {path} is not JSON: {answer[:100]!r}") from None

        try:
            return self.patiently(attempt, patience)
        except TimeoutError as error:
            raise EngineError(TIMED_OUT, f"no answer to {method} {path} within {timeout or 0:.0f} s") from error

    def create(
        self,
        query: Query,
        body: Mapping[str, Any],
        keep: Callable[[Mapping[str, Any]], bool],
        owned: Callable[[Mapping[str, str]], bool],
    ) -> Created:
        """Creates the container that `query` names, unless one of that name exists and is one to `keep`.

        Any other is removed first; a removal in progress is waited for. One that is not `owned`, by its labels, is left
        alone: then raises NameTaken. Raises EngineError, EngineUnavailable.
        """
        name = str(query["name"])
        for _ in range(CREATE_TRIES):
            try:
                return Created(self.call("POST", "/containers/create", query=query, body=body)["Id"], made=True)
            except EngineError as error:
                if error.status != 409:
                    raise
                conflict = error
            try:
                there = self.call("GET", f"/containers/{name}/json")
            except EngineError as error:
                if error.status == 404:  # just removed
                    continue
                raise
            if not owned(labels_of(there.get("Config"))):
                raise NameTaken(name)
            if there["State"]["Status"] not in GOING and keep(there):
                return Created(there["Id"], made=False)
            self.delete(f"/containers/{there['Id']}")
        raise conflict

    def delete(self, path: str) -> bool:
        """Removes a container (running or not, its anonymous volumes too), network or volume; False: it does not exist.

        Waits for a removal in progress by another client. Raises EngineError, EngineUnavailable.
        """
        try:
            self.call("DELETE", path, query={"force": 1, "v": 1} if path.startswith("/containers/") else None)
        except EngineError as error:
            if error.status == 404:
                return False
            if "already in progress" not in error.message:
                raise
            self._await_gone(path)
        return True

    def begin_delete(self, path: str) -> Callable[[], None]:
        """Asks for the removal of an object, which the engine completes whether or not anybody waits for it.

        Returns a function that waits for the answer. Both raise EngineError, EngineUnavailable.
        """
        connection = self.patiently(lambda: self._asked("DELETE", path))

        def wait() -> None:
            try:
                with closing(connection), connection.getresponse() as response:
                    if response.status >= 400 and response.status != 404:
                        raise EngineError(response.status, _error_message(response.read()))
            except GONE as error:
                raise self._unavailable(error) from error

        return wait

    def _asked(self, method: str, path: str) -> http.client.HTTPConnection:
        """A connection with this request, its response unread."""
        connection = _Connection(self.endpoint, None)
        try:
            connection.request(method, path, headers={"Connection": "close"})
        except BaseException:
            connection.close()
            raise
        return connection

    def _await_gone(self, path: str) -> None:
        deadline = time.monotonic() + REMOVAL_SECONDS
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        while time.monotonic() < deadline:
            try:
                self.call("GET", f"{path}/json")
            except EngineError as error:
                if error.status == 404:
                    return
                raise
            time.sleep(backoff.pause())
        raise EngineError(409, f"the removal of {path} has taken more than {REMOVAL_SECONDS:.0f} s")

    def put_archive(self, container: str, directory: str, tar: Callable[[], Iterable[bytes]]) -> None:
        """Unpacks a tar (plain or gzipped), passed in pieces, into a container's directory. Raises EngineError."""
        url = _url(f"/containers/{container}/archive", {"path": directory})

        def attempt() -> None:
            with self._request("PUT", url, tar(), {"Content-Type": "application/x-tar"}, CALL_TIMEOUT) as response:
                response.read()

        self.patiently(attempt)

    def mode_of(self, container: str, path: str) -> int | None:
        """The mode of a file in a container, started or not, as Go's `FileMode`; None if it does not exist.

        Raises EngineError, EngineUnavailable.
        """
        url = _url(f"/containers/{container}/archive", {"path": path})

        def attempt() -> int | None:
            try:
                with self._open("HEAD", url, None, {}, CALL_TIMEOUT) as response:
                    stat = base64.b64decode(response.getheader("X-Docker-Container-Path-Stat") or "")
                    return int(json.loads(stat)["mode"])
            except (ValueError, KeyError, TypeError):
                raise EngineError(BAD_ANSWER, f"its answer about {path} has no file mode") from None
            except EngineError as error:
                if error.status == 404:
                    return None
                raise

        return self.patiently(attempt)

    @contextmanager
    def get_archive(self, container: str, path: str) -> Iterator[BinaryIO]:
        """A tar stream of a container's file or directory. Raises EngineError (404: not found).

        HTTP/1.0, as chunks cost the engine more time than the files. A stream cut short has no archive's end.
        """
        request = f"GET {_url(f'/containers/{container}/archive', {'path': path})} HTTP/1.0\r\n\r\n"
        connection = self.patiently(lambda: self._raw(request, (200,)))
        connection.settimeout(CALL_TIMEOUT)
        with connection, connection.makefile("rb", BUFFER_BYTES) as stream:
            yield cast(BinaryIO, stream)

    @contextmanager
    def lines(self, path: str, query: Query, headers: Mapping[str, str], silence: float) -> Iterator[Iterator[bytes]]:
        """Posts, and yields the answer's lines as they arrive. Raises EngineError.

        While reading, raises one of GONE, or TimeoutError after `silence` seconds without a byte.
        """
        with self.patiently(lambda: self._open("POST", _url(path, query), None, headers, silence)) as response:
            yield iter(response.readline, b"")

    def raw(self, path: str, query: Query) -> socket.socket:
        """An answer's body as a socket, to receive from until it is closed; for logs.

        HTTP/1.0, so that the body is not chunked. One attempt: raises EngineError, or one of GONE.
        """
        return self._raw(f"GET {_url(path, query)} HTTP/1.0\r\n\r\n", (200,))

    def attach(self, container: str, *, output: bool) -> socket.socket:
        """A socket to a container's stdin that also returns, on request, its `output` from now on.

        A container whose requested output is not received blocks. One attempt: raises EngineError, or one of GONE.
        """
        query = {"stream": 1, "stdin": 1} | ({"stdout": 1, "stderr": 1} if output else {})
        url = _url(f"/containers/{container}/attach", query)
        headers = "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n"
        return self._raw(f"POST {url} HTTP/1.1\r\n{headers}\r\n", (101, 200))

    def start_exec(self, exec_id: str, *, tty: bool) -> socket.socket:
        """Starts a prepared exec. Returns a socket to its stdin that also returns its output: as it is with a `tty`,
        else in the frames of an attachment. One attempt: raises EngineError, or one of GONE.
        """
        body = json.dumps({"Detach": False, "Tty": tty})
        headers = "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n"
        length = f"Content-Length: {len(body)}\r\n"
        return self._raw(
            f"POST {_url(f'/exec/{exec_id}/start', None)} HTTP/1.1\r\n{headers}{length}\r\n{body}", (101, 200)
        )

    def patiently(self, attempt: Callable[[], T], patience: float | None = None) -> T:
        """The result of `attempt`, retried with growing pauses while no engine answers. Raises EngineUnavailable."""
        deadline = time.monotonic() + (self._patience if patience is None else patience)
        backoff = Backoff(FIRST_DELAY, LONGEST_DELAY)
        while True:
            try:
                return attempt()
            except PermissionError as error:
                raise self._unavailable(error) from error
            except GONE as error:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._unavailable(error) from error
            time.sleep(min(backoff.pause(), left))

    def _unavailable(self, error: Exception) -> EngineUnavailable:
        if isinstance(error, PermissionError):
            mend = "let this user use it (usermod -aG docker USER, then log in again)"
        else:
            mend = (
                "start it (systemctl start docker), install it (Debian, Ubuntu: apt-get install docker.io), "
                "or set DOCKER_HOST to another one"
            )
        cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return EngineUnavailable(f"no Docker engine answers at {self.endpoint.url} ({cause}): {mend}")

    def _open(
        self, method: str, url: str, body: Any, headers: Mapping[str, str], timeout: float | None
    ) -> http.client.HTTPResponse:
        """The response to a request, with its body unread; closing it closes the connection."""
        connection = _Connection(self.endpoint, timeout)
        try:
            try:
                connection.request(method, url, body=body, headers={**headers, "Connection": "close"})
            except (BrokenPipeError, ConnectionResetError):
                if body is None:
                    raise  # the engine may have rejected the body before its end, with a reason
            response = connection.getresponse()
            if response.status >= 400:
                raise EngineError(response.status, _error_message(response.read()))
            return response
        except BaseException:
            connection.close()
            raise

    @contextmanager
    def _request(
        self, method: str, url: str, body: Any, headers: Mapping[str, str], timeout: float | None
    ) -> Iterator[http.client.HTTPResponse]:
        with self._open(method, url, body, headers, timeout) as response:
            yield response

    def _raw(self, request: str, accepted: tuple[int, ...]) -> socket.socket:
        connection = self.endpoint.connect(CALL_TIMEOUT)
        try:
            connection.sendall(request.encode())
            head = bytearray()
            while not head.endswith(b"\r\n\r\n"):  # byte by byte: the rest belongs to the reader
                byte = connection.recv(1)
                if not byte:
                    raise http.client.BadStatusLine(head.decode(errors="replace"))
                head += byte
            try:
                status = _status(bytes(head))
            except (ValueError, IndexError):
                raise http.client.BadStatusLine(head.decode(errors="replace")) from None
            if status not in accepted:
                length = re.search(rb"\r\ncontent-length: *(\d+)", bytes(head).lower())
                left = int(length[1]) if length else MOST_MESSAGE if "HTTP/1.0\r\n" in request else 0
                answer = bytearray()
                while len(answer) < left and (piece := connection.recv(left - len(answer))):
                    answer += piece
                raise EngineError(status, _error_message(bytes(answer)))
            connection.settimeout(None)
            return connection
        except BaseException:
            connection.close()
            raise


def labels_of(holder: Mapping[str, Any] | None) -> Mapping[str, str]:
    """The labels in a part of an answer: without labels the engine sends null."""
    return (holder or {}).get("Labels") or {}


def _url(path: str, query: Query | None) -> str:
    """Without an API version, which means the engine's newest: everything used here exists in all versions."""
    return quote(path) + (f"?{urlencode(query)}" if query else "")


def _status(head: bytes) -> int:
    return int(head.split(None, 2)[1])


def _error_message(body: bytes) -> str:
    text = body.decode(errors="replace").strip()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text or "no message"
