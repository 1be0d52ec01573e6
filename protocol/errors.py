"""Errors shown to users; each carries its message and the CLI's exit status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class LongshoreError(Exception):
    """An error with a clear message for the user.

    `exit_status` is the CLI's: 1 the run failed, 2 bad usage or a bad file, 3 canceled, 4 the coordinator can't be
    reached.
    """

    exit_status = 1


class UsageError(LongshoreError):
    """The caller's mistake: an unknown run, a bad option, a wrong state."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem in a pipeline file; as text it is one line.

    `line` counts from 1; 0 means the whole file. `mend` suggests a fix. `included_from` is the chain of `FILE:LINE`
    that includes the file, starting with the pipeline file itself. `column` to `end_column` are those of a `Mark`.
    """

    message: str
    file: str = ""
    line: int = 0
    key: str = ""
    mend: str = ""
    included_from: tuple[str, ...] = ()
    column: int = 0
    end_line: int = 0
    end_column: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        parts = [part for part in (place, self.key, self.message) if part]
        text = ": ".join(parts)
        if self.mend:
            text += f"; {self.mend}"
        if self.included_from:
            text += f" (included from {', then '.join(self.included_from)})"
        return text


class PipelineFileError(LongshoreError):
    """A pipeline file can't be compiled; `problems` lists all problems found, each with file, line, key and mend."""

    exit_status = 2

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems = [Problem(problems)] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class CoordinatorUnreachable(LongshoreError):
    """No coordinator answered in time; the message names the address."""

    exit_status = 4


class NotLetIn(LongshoreError):
    """A coordinator refused this user's key, or requires one; the message explains the remedy."""

    exit_status = 4


class EngineUnavailable(LongshoreError):
    """No Docker engine answers; the message names its address and the remedy."""


class ProtocolError(LongshoreError):
    """A frame or request violates the protocol or is refused; `code` is the short name for `error` replies."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def reason_of(error: Exception) -> str:
    """An error's message; of one of the host, its reason and file, without Python's notation of its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__
