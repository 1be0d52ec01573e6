"""The one tree of errors that a user may see; each carries its message and the CLI's exit status."""

from __future__ import annotations


class LongshoreError(Exception):
    """An error with one clear message for the user.

    `exit_status` is what the CLI ends with: 1 the run failed, 2 bad usage or a bad file,
    3 canceled, 4 the coordinator can't be reached.
    """

    exit_status = 1


class UsageError(LongshoreError):
    """The caller asked for something that can't be: an unknown run, a bad option, a wrong state."""

    exit_status = 2


class PipelineFileError(LongshoreError):
    """A pipeline file can't be compiled; the message names the file, the line, the key and the mend."""

    exit_status = 2


class CoordinatorUnreachable(LongshoreError):
    """No coordinator answered in time at the address that the message names."""

    exit_status = 4


class EngineUnavailable(LongshoreError):
    """No Docker engine answers; the message says where it was looked for and what to do."""


class ProtocolError(LongshoreError):
    """A frame is not what the protocol allows; `code` is the short name that goes into `error` replies."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
