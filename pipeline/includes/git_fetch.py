"""Runs git for the cache of fetched projects: with the user's credentials to a server, and without any to the cache.

Everything that a server sends is bounded: the time of a command, and the size of each file that it writes.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import IO

from pipeline.file_listing import NOT_OURS, git_run
from pipeline.git_repository import git_output, parse_configuration
from pipeline.includes.credentials import CredentialCache
from pipeline.includes.servers import without_credentials
from protocol.errors import LongshoreError

FETCH_SECONDS = 60.0
"""Timeout of one connection to a server."""
TOTAL_SECONDS = 300.0
"""Timeout of all connections of one compilation."""
REWRITTEN = " (rewritten by insteadOf)"
REWRITE_SECONDS = 10.0
"""Timeout of git's answer to what `insteadOf` makes of an address, for which it asks no server."""
PROGRESS_SECONDS = 0.5
"""Duration from which a connection is announced on a terminal."""
REMOTE = "longshore"
"""Name of the one remote; a user's settings for `origin` do not apply to it."""
PROTOCOLS = "file:git:http:https:ssh"
OF_CONNECTIONS = ("core.gitproxy", "core.sshcommand", "ssh.variant")
"""Settings of the user's repository that also apply to fetches from other projects; further, those of OF_ADDRESSES."""
OF_ADDRESSES = ("credential.", "http.", "url.")
SHOWN, SHOWN_LINES = 300, 3
"""Characters and lines of the end of git's own message that an error shows."""
_NOISE = re.compile(r"warning: |please make sure you have the correct access|and the repository exists", re.IGNORECASE)
_ENDED = "Could not read from remote repository"
"""What git says after any reason of ssh's."""
_LOGIN = re.compile(
    r"authentication failed|could not read (?:username|password)|permission denied|terminal prompts disabled|"
    r"host key verification failed|access denied|http basic: access|returned error: 40[13]",
    re.IGNORECASE,
)
_ABSENT = re.compile(
    r"not found|does not exist|does not appear to be a git repository|could not be found|returned error: 404",
    re.IGNORECASE,
)
_NO_REF = re.compile(
    r"couldn't find remote ref|no such remote ref|not our ref|unadvertised object|bad object|invalid refspec"
)
_TOO_LARGE = re.compile(r"file too large", re.IGNORECASE)


class NoSuchRef(LongshoreError):
    """The server has the project, but not the ref or object."""


class NotReached(LongshoreError):
    """The server does not answer, or not to us: there is no use in asking it for more of the project."""


class NoSuchProject(NotReached):
    """The server has no such project, or does not admit to it."""


class GitFetch:
    """Connections to git servers for one compilation.

    `repository` is the user's own, whose settings for connections apply (`insteadOf`, credentials, proxies, CAs).
    `progress` receives a line when a connection takes long. With `interactive`, git and ssh may ask on the terminal.
    With `same_group`, they stay in this process's group, for a caller that ends them with it.
    """

    def __init__(
        self,
        repository: Path,
        progress: Callable[[str], None] | None = None,
        *,
        interactive: bool,
        same_group: bool = False,
    ) -> None:
        self._repository = repository
        self._progress = progress
        self._interactive = interactive
        self._same_group = same_group or interactive  # a session of its own has no terminal to ask on
        self._seconds = TOTAL_SECONDS

    def run(self, directory: Path, address: str, command: tuple[str, ...], doing: str, limit: int) -> bytes:
        """Output of a git command that talks to the server at `address`; no file that it writes exceeds `limit` bytes.

        `doing` says what is done, for messages. Raises NoSuchRef, NotReached, LongshoreError.
        """
        seconds = min(FETCH_SECONDS, self._seconds)
        if seconds <= 0:
            raise NotReached(f"{doing}: all fetches together took longer than {TOTAL_SECONDS:.0f} s")
        started = time.monotonic()
        try:
            with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
                status = self._wait(self._start(directory, address, command, limit, output, errors), doing, seconds)
                if status != 0:
                    said = self._without_rewritten(_tail(errors), directory, address)
                    raise _failure(doing, said, status, limit)
                output.seek(0)
                return output.read(limit)
        finally:
            self._seconds -= time.monotonic() - started

    def _start(
        self,
        directory: Path,
        address: str,
        command: tuple[str, ...],
        limit: int,
        output: IO[bytes],
        errors: IO[bytes],
    ) -> subprocess.Popen[bytes]:
        # A shell's `ulimit`: a limit set between fork and exec would need Python code in the child of a process that
        # has threads. Its unit is 512 bytes. Without the signal, git reports the failed write.
        bounded = ["sh", "-c", 'trap "" XFSZ && ulimit -f "$0" && exec "$@"', str(limit // 512)]
        try:
            return subprocess.Popen(
                [*bounded, "git", "--git-dir", str(directory), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=self._environment(address),
                start_new_session=not self._same_group,  # which ends as a whole
            )
        except FileNotFoundError:
            raise LongshoreError("git is not installed: install it (apt-get install git)") from None

    def _wait(self, process: subprocess.Popen[bytes], doing: str, seconds: float) -> int:
        try:
            try:
                return process.wait(min(PROGRESS_SECONDS, seconds))
            except subprocess.TimeoutExpired:
                if self._progress is not None:
                    self._progress(doing)
            return process.wait(max(seconds - PROGRESS_SECONDS, 0))
        except subprocess.TimeoutExpired:
            raise NotReached(f"{doing}: no answer within {seconds:.0f} s") from None
        finally:
            if process.poll() is None:
                self._end(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with suppress(ProcessLookupError):
            if self._same_group:
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _environment(self, address: str) -> dict[str, str]:
        environment = {key: value for key, value in os.environ.items() if key not in NOT_OURS}
        environment |= {"LC_ALL": "C", "GIT_ALLOW_PROTOCOL": PROTOCOLS}
        if not self._interactive:
            environment["GIT_TERMINAL_PROMPT"] = "0"
            environment["SSH_ASKPASS_REQUIRE"] = "never"
            ssh = environment.get("GIT_SSH_COMMAND") or self._ssh_command
            if "GIT_SSH" not in environment and ssh.partition(" ")[0].rpartition("/")[2] == "ssh":
                environment["GIT_SSH_COMMAND"] = f"{ssh} -o BatchMode=yes"
        # By the environment, since other users can read the arguments of a process.
        settings = [*self._settings, *_settings_of(address)]
        if self._interactive:
            settings.append(self._credentials.setting)
        first = int(environment.get("GIT_CONFIG_COUNT") or 0)
        for number, (key, value) in enumerate(settings, first):
            environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return environment | {"GIT_CONFIG_COUNT": str(first + len(settings))}

    def _without_rewritten(self, said: str, directory: Path, address: str) -> str:
        """Git's message with our address in place of what `insteadOf` makes of it, which may have a token anywhere."""
        command = ["git", "--git-dir", str(directory), "ls-remote", "--get-url", REMOTE]
        try:
            done = subprocess.run(command, capture_output=True, env=self._environment(address), timeout=REWRITE_SECONDS)
        except subprocess.TimeoutExpired:
            return ""
        rewritten = done.stdout.decode("utf-8", "replace").strip()
        if not rewritten or rewritten == address:
            return said
        ours, path = without_credentials(address), _path_of(rewritten)
        shown = without_credentials(rewritten).rstrip("/")
        said = without_credentials(said).replace(f"{shown}/", shown).replace(shown, f"{ours}{REWRITTEN}")
        return said if path in ours else said.replace(path, f"{_path_of(ours)}{REWRITTEN}")

    @cached_property
    def _credentials(self) -> CredentialCache:
        """So that a password is asked for once, not for each connection."""
        return CredentialCache(TOTAL_SECONDS)

    def close(self) -> None:
        """Forgets the passwords that were asked for."""
        if "_credentials" in vars(self):
            self._credentials.close()
            del self._credentials

    @cached_property
    def _settings(self) -> list[tuple[str, str]]:
        """The settings for connections in the user's repository; as for git itself, only if it is the user's own."""
        folder = self._repository / ".git"
        try:
            if folder.stat().st_uid != os.geteuid():
                return []
        except OSError:
            return []
        listed = git_output(self._repository, "config", "--local", "--includes", "-z", "--list") or b""
        entries = (entry.partition("\n") for entry in listed.decode("utf-8", "surrogateescape").split("\0") if entry)
        return [
            (key, value) for key, _, value in entries if key.startswith(OF_ADDRESSES) or key.lower() in OF_CONNECTIONS
        ]

    @property
    def _ssh_command(self) -> str:
        listed = git_output(Path("/"), "config", "-z", "--list") or b""
        return dict(self._settings).get("core.sshcommand") or parse_configuration(listed).get("core.sshcommand", "ssh")


def local(directory: Path, *command: str, asked: bytes | None = None) -> bytes | None:
    """Output of a git command on a cached repository, without a network; None if it fails."""
    done = git_run(directory, "--git-dir=.", *command, asked=asked)
    return done.stdout if done.returncode == 0 else None


def _settings_of(address: str) -> list[tuple[str, str]]:
    """The remote, which exists only in the environment: a file with its address might hold a password.

    As a partial clone's remote, since git would otherwise write that into the cached repository, and then fetch
    missing objects by itself.
    """
    return [
        (f"remote.{REMOTE}.url", address),
        (f"remote.{REMOTE}.promisor", "true"),
        (f"remote.{REMOTE}.partialclonefilter", "blob:none"),
        ("protocol.version", "2"),
        ("fetch.unpacklimit", "1"),  # one pack, whose size is bounded
        ("transfer.unpacklimit", "1"),
        ("fetch.writecommitgraph", "false"),
        ("core.hookspath", os.devnull),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
    ]


def _path_of(address: str) -> str:
    """The path of an address, which a server's own messages show."""
    return re.sub(r"\A(?:\w+://[^/]*|[^/:]+:)", "", address.rstrip("/"))


def _tail(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - 10_000))
    return errors.read().decode("utf-8", "replace")


def _failure(doing: str, said: str, status: int, limit: int) -> LongshoreError:
    """The error for a failed command. Git's own message is shown without credentials."""
    if _TOO_LARGE.search(said):
        return LongshoreError(f"{doing}: the server sends more than {limit >> 20} MB")
    lines = [line.strip().rstrip(".") for line in without_credentials(said).splitlines() if line.strip()]
    lines = [re.sub(r"^(?:fatal|error|remote): ", "", line) for line in lines if not _NOISE.match(line)]
    lines = [line for line in lines if line != _ENDED] or lines
    shown = "; ".join(dict.fromkeys(lines[-SHOWN_LINES:]))[-SHOWN:] or f"git ended with exit status {status}"
    if _NO_REF.search(said):
        return NoSuchRef(f"{doing}: {shown}")
    if _LOGIN.search(said):
        mend = "check the credentials that git has for this server"
        return NotReached(f"{doing}: git can't log in: {shown}; {mend}")
    if _ABSENT.search(said):
        return NoSuchProject(f"{doing}: no such project, or no access to it: {shown}")
    return NotReached(f"{doing}: {shown}")
