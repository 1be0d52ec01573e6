"""Runs git for mirrors: with limits on time and size, without the host's configuration, with a project's credentials.

A process that is never waited for ends by itself: the launcher may be killed at any moment.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

import msgspec

from protocol.errors import LongshoreError

LONGEST_FETCH = 900.0
"""Seconds for one transfer."""
LARGEST_PACK = 8 << 30
"""Bytes that one transfer may bring."""
SLOWEST = 1000
"""Bytes per second over a minute below which a transfer by HTTP is given up."""
LAST_WORDS = 500
LATE = 10.0
"""Seconds after which a process is ended from here that should have ended by itself."""
SETTINGS = (
    "gc.auto=0",
    "maintenance.auto=false",
    "core.hooksPath=/dev/null",
    "core.askPass=",
    "http.followRedirects=false",
    f"http.lowSpeedLimit={SLOWEST}",
    "http.lowSpeedTime=60",
    "protocol.allow=never",
    *(f"protocol.{name}.allow=always" for name in ("http", "https", "ssh", "git", "file")),
    "transfer.fsckObjects=true",
    "fetch.fsck.missingEmail=ignore",  # old and harmless
    "fetch.fsck.zeroPaddedFilemode=ignore",
)
NOWHERE = os.devnull
ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": NOWHERE,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=20 -oServerAliveInterval=20",
    "LC_ALL": "C",
}
KEPT = ("HOME", "PATH", "SSH_AUTH_SOCK", "USER", "LOGNAME", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO")
"""Variables that git and ssh get; proxies too, in any case."""
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
HELPER = """!f() { test "$1" = get && printf 'username=%s\\npassword=%s\\n' "$GIT_USER" "$GIT_SECRET"; }; f"""
TOKEN_USER = "oauth2"
"""The user of a token without one: Forgejo, Gitea, GitHub and GitLab take any."""


class GitFailed(LongshoreError):
    """Git could not do what it was asked; the message is its own."""


class Ended(LongshoreError):
    """The launcher is ending."""


class Access(msgspec.Struct, frozen=True):
    """How git gets into a repository: `secret` is a password or token, or USER:PASSWORD; empty for none."""

    url: str
    secret: str = ""

    def __repr__(self) -> str:  # keeps the secret out of logs
        return f"Access({self.url})"


class Git:
    """Runs git, several at a time, until `end`. Thread-safe."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = Lock()
        self._ended = False

    def run(
        self,
        repository: Path | None,
        *arguments: str,
        access: Access | None = None,
        seconds: float = LONGEST_FETCH,
        inherited: Sequence[int] = (),
    ) -> bytes:
        """The output of a git command. Raises GitFailed, Ended."""
        settings = [word for setting in (*SETTINGS, *_helper(access)) for word in ("-c", setting)]
        where = [] if repository is None else [f"--git-dir={repository}"]
        limits = f'ulimit -f {LARGEST_PACK // 512} 2>/dev/null || :; exec "$@"'
        command = ["timeout", "-k", "5", f"{seconds:.0f}", "/bin/sh", "-c", limits, "sh"]
        process = self._start([*command, "git", *where, *settings, *arguments], environment(access), inherited)
        try:
            output, errors = process.communicate(timeout=seconds + LATE)
        except subprocess.TimeoutExpired:
            errors, output = b"", b""
        finally:
            self._finish(process)
        if self._ended:
            raise Ended("the launcher is ending")
        if process.returncode != 0:
            raise GitFailed(_why(arguments, process.returncode, errors, seconds, access))
        return output

    def end(self) -> None:
        """Ends all processes; from now on, none is started. From any thread."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for process in running:
            _kill(process)

    def _start(
        self, command: Sequence[str], environment: dict[str, str], inherited: Sequence[int]
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._ended:
                raise Ended("the launcher is ending")
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd="/",
                pass_fds=inherited,
                start_new_session=True,
            )
            self._running.add(process)
            return process

    def _finish(self, process: subprocess.Popen[bytes]) -> None:
        _kill(process)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        with self._lock:
            self._running.discard(process)


def environment(access: Access | None) -> dict[str, str]:
    """The environment of a git process; the secret is there alone, not in its arguments nor on disk."""
    kept = {key: value for key, value in os.environ.items() if key in KEPT or key.upper() in PROXIES}
    made = kept | ENVIRONMENT
    if access is not None and access.secret:
        user, colon, password = access.secret.partition(":")
        made |= {"GIT_USER": user, "GIT_SECRET": password} if colon else {
            "GIT_USER": TOKEN_USER, "GIT_SECRET": access.secret,
        }  # fmt: skip
    return made


def _helper(access: Access | None) -> list[str]:
    """The setting that gives git the secret, for the project's own server alone."""
    if access is None or not access.secret or not access.url.startswith(("http://", "https://")):
        return []
    parts = urlsplit(access.url)
    return [f"credential.{parts.scheme}://{parts.netloc.rpartition('@')[2]}.helper={HELPER}"]


def _why(arguments: Sequence[str], status: int, errors: bytes, seconds: float, access: Access | None) -> str:
    if status in (124, 137, -signal.SIGKILL):
        return f"git {arguments[0]} took longer than {seconds:.0f} s"
    if status == 127:
        return "git is not installed on the coordinator's host: apt-get install git"
    words = errors.decode(errors="replace").strip()
    if access is not None and access.secret:
        for part in {access.secret, access.secret.partition(":")[2]} - {""}:
            words = words.replace(part, "[MASKED]")
    return f"git {arguments[0]}: {words[-LAST_WORDS:] or f'exit status {status}'}"


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
