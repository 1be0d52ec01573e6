"""The one tree of errors that a user may see; each carries its message and the CLI's exit status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class LongshoreError(Exception):
    """An error with one clear message for the user.

    `exit_status` is what the CLI ends with: 1 the run failed, 2 bad usage or a bad file,
    3 canceled, 4 the coordinator can't be reached.
    """

    exit_status = 1


class UsageError(LongshoreError):
    """The caller asked for something that can't be: an unknown run, a bad option, a wrong state."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a pipeline file; as text it is one line.

    `line` counts from 1, 0 is: the whole file. `included_from` is the chain of `FILE:LINE` that brought the file in,
    the pipeline file itself first.
    """

    message: str
    file: str = ""
    line: int = 0
    key: str = ""
    mend: str = ""
    included_from: tuple[str, ...] = ()

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
    """A pipeline file can't be compiled; `problems` are all that were found, each with file, line, key and mend."""

    exit_status = 2

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems = [Problem(problems)] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class CoordinatorUnreachable(LongshoreError):
    """No coordinator answered in time at the address that the message names."""

    exit_status = 4


class NotLetIn(LongshoreError):
    """A coordinator is there, and takes no connection by this user's key (or by none); the message says what to do."""

    exit_status = 4


class EngineUnavailable(LongshoreError):
    """No Docker engine answers; the message says where it was looked for and what to do."""


class ProtocolError(LongshoreError):
    """A frame is not what the protocol allows; `code` is the short name that goes into `error` replies."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
