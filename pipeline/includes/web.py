"""Fetches a file by HTTP or HTTPS: bounded in time and size, through curl's proxies, trusting curl's authorities.

Knows nothing of YAML. urllib3 is imported at the first fetch: most pipeline files need none.
"""

from __future__ import annotations

import base64
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

from pipeline.includes.network import is_local, is_local_name, is_out_of_reach, proxy_of
from pipeline.includes.urls import Address, parse_url, printable_url
from pipeline.yaml_loader import MAX_FILE_BYTES
from protocol import VERSION
from protocol.errors import LongshoreError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse
    from urllib3.util import Timeout

REDIRECTS = frozenset((301, 302, 303, 307, 308))
REASONS = {401: "it asks for a login", 403: "access is denied", 404: "there is no such file"}
MAX_ADDRESSES = 4
"""Maximum number of a host's addresses to try."""
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one fetch. Name resolution, redirects and all of the answer count towards `seconds`."""

    seconds: float = 30.0
    connect_seconds: float = 10.0
    size: int = MAX_FILE_BYTES
    redirects: int = 5


@dataclass(slots=True)
class WebClient:
    """Fetches files. `environment` has curl's variables for proxies and authorities; without `allow_local`, no address
    of this machine or its link is contacted, by whatever name or redirect.
    """

    allow_local: bool = False
    limits: Limits = field(default_factory=Limits)
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _trusted: ssl.SSLContext | None = None

    def get(self, url: str) -> bytes:
        """The content of a file. Raises LongshoreError with the reason; it shows no credentials and no query."""
        outcome: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        deadline = time.monotonic() + self.limits.seconds

        def fetch() -> None:
            try:
                outcome.put(self._follow(url, deadline))
            except Exception as error:
                outcome.put(error)

        # A name server, or headers that arrive byte by byte, can outlast any timeout of a socket.
        threading.Thread(target=fetch, name="fetch", daemon=True).start()
        try:
            result = outcome.get(timeout=self.limits.seconds)
        except queue.Empty:
            raise self._too_slow() from None
        if isinstance(result, Exception):
            raise result
        return result

    def _follow(self, url: str, deadline: float) -> bytes:
        try:
            address = parse_url(url)
        except LongshoreError as error:
            raise LongshoreError(f"can't be fetched: {error}") from None
        for _ in range(self.limits.redirects + 1):
            response = self._request(address, deadline)
            try:
                location = response.headers.get("Location") if response.status in REDIRECTS else None
                if location is None:
                    return self._body(response, deadline)
            finally:
                response.close()
            address = self._redirected(address, location)
        raise LongshoreError(f"redirects more than {self.limits.redirects} times")

    def _redirected(self, address: Address, location: str) -> Address:
        try:
            target = urljoin(address.url, location)
        except ValueError:
            raise LongshoreError("redirects to a malformed URL") from None
        try:
            found = parse_url(target)
        except LongshoreError as error:
            raise LongshoreError(f"redirects to {printable_url(target)}: {error}") from None
        if address.scheme == "https" and found.scheme == "http":
            raise LongshoreError(f"redirects from https to {printable_url(target)}, which is not encrypted")
        return found

    def _request(self, address: Address, deadline: float) -> BaseHTTPResponse:
        from urllib3 import exceptions
        from urllib3.util import Timeout

        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise self._too_slow()
        timeout = Timeout(connect=min(self.limits.connect_seconds, remaining), read=remaining)
        headers = {"User-Agent": f"longshore/{VERSION}", "Accept": "*/*", "Accept-Encoding": "identity"}
        if address.credentials:
            headers["Authorization"] = _basic(address.credentials)
        try:
            proxy = proxy_of(address, self.environment)
            if proxy is not None:
                return self._through(proxy, address, headers, timeout)
            return self._direct(address, headers, timeout)
        except exceptions.HTTPError as error:
            raise self._explained(error, address) from None
        except UnicodeError:
            raise LongshoreError(f"can't be fetched: {address.host} is not a valid host name") from None

    def _through(self, proxy: str, address: Address, headers: dict[str, str], timeout: Timeout) -> BaseHTTPResponse:
        from urllib3 import ProxyManager

        if not self.allow_local and is_local_name(address.host):
            raise LongshoreError(is_out_of_reach(address.host))
        parts = urlsplit(proxy)
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username is not None else None
        manager = ProxyManager(
            f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            proxy_headers={"Proxy-Authorization": _basic(login)} if login else None,
            proxy_ssl_context=self._trust() if parts.scheme == "https" else None,
            ssl_context=self._trust() if address.scheme == "https" else None,
        )
        return manager.urlopen(
            "GET", address.url, headers=headers, timeout=timeout, retries=False, redirect=False, preload_content=False
        )

    def _direct(self, address: Address, headers: dict[str, str], timeout: Timeout) -> BaseHTTPResponse:
        """The answer from one of the addresses that were checked; a second look-up could say something else."""
        from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, exceptions

        headers = headers | {"Host": address.netloc}
        resolved = self._resolved(address)
        for number, found in enumerate(resolved, 1):
            pool: HTTPConnectionPool
            if address.scheme == "https":
                trusted = self._trust()
                pool = HTTPSConnectionPool(found, address.port, ssl_context=trusted, server_hostname=address.host)
            else:
                pool = HTTPConnectionPool(found, address.port)
            try:
                return pool.urlopen(
                    "GET",
                    address.target,
                    headers=headers,
                    timeout=timeout,
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
            except (exceptions.NewConnectionError, exceptions.ConnectTimeoutError):
                if number == len(resolved):
                    raise
        raise LongshoreError(f"can't be fetched: {address.host} has no address")

    def _resolved(self, address: Address) -> list[str]:
        """The host's addresses. Raises LongshoreError if one of them is local and must not be contacted."""
        try:
            answers = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise LongshoreError(f"can't be fetched: {address.host}: {error.strerror or error}") from None
        found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
        local = next((each for each in found if is_local(each)), None)
        if local is not None and not self.allow_local:
            raise LongshoreError(is_out_of_reach(address.host, local))
        return found[:MAX_ADDRESSES]

    def _body(self, response: BaseHTTPResponse, deadline: float) -> bytes:
        from urllib3 import exceptions

        if response.status != 200:
            said = REASONS.get(response.status, "the server could not answer" if response.status >= 500 else "")
            raise LongshoreError(f"can't be fetched: HTTP {response.status}{f', {said}' if said else ''}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise LongshoreError("can't be fetched: the server compresses it, although it was asked not to")
        length = response.headers.get("Content-Length", "")
        content = bytearray()
        try:
            if length.isdecimal() and len(length) < 20 and int(length) > self.limits.size:
                raise self._too_large()
            while data := response.read1(CHUNK_BYTES, decode_content=False):
                content += data
                if len(content) > self.limits.size:
                    raise self._too_large()
                if time.monotonic() > deadline:
                    raise self._too_slow()
        except exceptions.ReadTimeoutError:
            raise self._too_slow() from None
        except exceptions.HTTPError:
            raise LongshoreError(f"can't be fetched: the connection broke off after {len(content)} bytes") from None
        return bytes(content)

    def _trust(self) -> ssl.SSLContext:
        """The certificate authorities to trust: those that curl would. Raises LongshoreError naming the variable."""
        if self._trusted is None:
            self._trusted = trusted_authorities(self.environment)
        return self._trusted

    def _explained(self, error: Exception, address: Address) -> LongshoreError:
        from urllib3 import exceptions

        if isinstance(error, exceptions.ProxyError):
            return LongshoreError(f"can't be fetched: the proxy: {_reason(error.original_error, self.environment)}")
        if isinstance(error, exceptions.ReadTimeoutError):
            return self._too_slow()
        if isinstance(error, exceptions.ConnectTimeoutError):
            return LongshoreError(f"can't be fetched: {address.netloc} accepts no connection")
        if isinstance(error, exceptions.SSLError):
            return LongshoreError(f"can't be fetched: {_reason(error, self.environment)}")
        if isinstance(error, exceptions.ProtocolError):
            return LongshoreError("can't be fetched: the connection broke off before the answer")
        return LongshoreError(f"can't be fetched: {address.netloc}: {_reason(error, self.environment)}")

    def _too_slow(self) -> LongshoreError:
        return LongshoreError(f"can't be fetched: it takes longer than {self.limits.seconds:g} s")

    def _too_large(self) -> LongshoreError:
        return LongshoreError(f"is larger than {self.limits.size >> 20} MB")


def _basic(credentials: str) -> str:
    """The header for `user:password`, in UTF-8 as curl sends what it is given."""
    return f"Basic {base64.b64encode(credentials.encode()).decode()}"


def _reason(error: BaseException, environment: Mapping[str, str]) -> str:
    """The innermost reason of an error, without addresses of objects."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            names = f"{_authorities(environment)} names the authorities to trust"
            return f"the certificate is not trusted: {seen.verify_message} ({names})"
        if isinstance(seen, ssl.SSLError):
            return f"TLS: {(seen.reason or 'failed').lower().replace('_', ' ')}"
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        inner = next((each for each in seen.args if isinstance(each, BaseException)), None)
        following = inner or seen.__cause__ or seen.__context__
        if following is None:
            return str(seen).rpartition(": ")[2] if "object at 0x" in str(seen) else str(seen)
        seen = following
    return "failed"


def trusted_authorities(environment: Mapping[str, str]) -> ssl.SSLContext:
    """The certificate authorities that curl would trust: CURL_CA_BUNDLE, else SSL_CERT_FILE and SSL_CERT_DIR, else the
    system's.

    Raises LongshoreError naming the variable whose file can't be used.
    """
    name = _authorities(environment)
    file = environment.get(name)
    folder = environment.get("SSL_CERT_DIR") if name != "CURL_CA_BUNDLE" else None
    try:
        context = ssl.create_default_context(cafile=file or None)
        if folder:
            context.load_verify_locations(capath=folder)
    except ssl.SSLError:
        raise LongshoreError(f"can't be fetched: {name} names {file}, which has no certificate in PEM") from None
    except OSError as error:
        named = f"{name} names {file}" if file else f"SSL_CERT_DIR names {folder}"
        raise LongshoreError(f"can't be fetched: {named}: {error.strerror or error}") from None
    return context


def _authorities(environment: Mapping[str, str]) -> str:
    """The variable that names the file of trusted authorities."""
    return "CURL_CA_BUNDLE" if environment.get("CURL_CA_BUNDLE") else "SSL_CERT_FILE"
