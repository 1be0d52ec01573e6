"""All messages on the ROUTER/DEALER sockets, by sender. Pure data.

A message is one msgpack map, identified by its `type`. Types marked (+payload) are followed by one raw frame.
`id` matches a reply to its request; a worker's notifications have none. `attempt` is an attempt's id.
"""

from __future__ import annotations

from protocol.messages.client import (
    Cancel,
    ClientHello,
    Done,
    DrainWorker,
    EnvironmentList,
    GetJob,
    GetLog,
    GetRun,
    GetSnapshot,
    GetWorkspaces,
    JobDetail,
    ListEnvironments,
    ListReleases,
    ListRuns,
    ListTestResults,
    ListWorkers,
    LogData,
    Origin,
    Play,
    ReleaseList,
    Retry,
    RunDetail,
    RunFilter,
    RunList,
    RunSubmitted,
    Snapshot,
    Source,
    StopEnvironment,
    SubmitRun,
    TestResultList,
    WorkerList,
    Workspaces,
)
from protocol.messages.commands import (
    LARGEST_SCREEN,
    PIECE_BYTES,
    PING_SECONDS,
    SILENT_SECONDS,
    WINDOW_BYTES,
    CommandClosed,
    CommandCredit,
    CommandEnded,
    CommandInput,
    CommandInputEnd,
    CommandOpened,
    CommandOutput,
    CommandResize,
    CommandSignal,
    Drop,
    DropKept,
    KeptAttempt,
    OpenCommand,
    RunCommand,
    Signal,
    Terminal,
)
from protocol.messages.shared import (
    MOST_WORKERS_ASKED,
    BlobData,
    BlobGet,
    BlobPut,
    BlobState,
    Error,
    GetGoneWorkers,
    GoneWorkers,
    Message,
    Welcome,
)
from protocol.messages.worker import (
    MOST_STATUSES,
    Ack,
    AssignJob,
    Assignment,
    Batch,
    CancelJob,
    Dependency,
    DependencyUpdate,
    DiscardAttempt,
    Drain,
    GetJobDependencies,
    GetJobExecution,
    GetJobStatus,
    Goodbye,
    Heartbeat,
    HeldAttempt,
    Hello,
    JobDependencies,
    JobExecution,
    JobReturned,
    JobStatus,
    JobStatuses,
    JobStatusReply,
    LogChunk,
    RevokeJob,
)

__all__ = [
    "LARGEST_SCREEN",
    "MOST_STATUSES",
    "MOST_WORKERS_ASKED",
    "PAYLOAD_TYPES",
    "PIECE_BYTES",
    "PING_SECONDS",
    "SILENT_SECONDS",
    "WINDOW_BYTES",
    "Ack",
    "AssignJob",
    "Assignment",
    "Batch",
    "BlobData",
    "BlobGet",
    "BlobPut",
    "BlobState",
    "Cancel",
    "CancelJob",
    "ClientHello",
    "CommandClosed",
    "CommandCredit",
    "CommandEnded",
    "CommandInput",
    "CommandInputEnd",
    "CommandOpened",
    "CommandOutput",
    "CommandResize",
    "CommandSignal",
    "Dependency",
    "DependencyUpdate",
    "DiscardAttempt",
    "Done",
    "Drain",
    "DrainWorker",
    "Drop",
    "DropKept",
    "EnvironmentList",
    "Error",
    "FromBoth",
    "FromClient",
    "FromWorker",
    "GetGoneWorkers",
    "GetJob",
    "GetJobDependencies",
    "GetJobExecution",
    "GetJobStatus",
    "GetLog",
    "GetRun",
    "GetSnapshot",
    "GetWorkspaces",
    "GoneWorkers",
    "Goodbye",
    "Heartbeat",
    "HeldAttempt",
    "Hello",
    "JobDependencies",
    "JobDetail",
    "JobExecution",
    "JobReturned",
    "JobStatus",
    "JobStatusReply",
    "JobStatuses",
    "KeptAttempt",
    "ListEnvironments",
    "ListReleases",
    "ListRuns",
    "ListTestResults",
    "ListWorkers",
    "LogChunk",
    "LogData",
    "Message",
    "OpenCommand",
    "Origin",
    "Play",
    "ReleaseList",
    "Retry",
    "RevokeJob",
    "RunCommand",
    "RunDetail",
    "RunFilter",
    "RunList",
    "RunSubmitted",
    "Signal",
    "Snapshot",
    "Source",
    "StopEnvironment",
    "SubmitRun",
    "Terminal",
    "TestResultList",
    "ToClient",
    "ToCoordinator",
    "ToWorker",
    "Welcome",
    "WorkerList",
    "Workspaces",
]

FromWorker = (
    Hello
    | Heartbeat
    | JobStatus
    | JobStatuses
    | LogChunk
    | JobReturned
    | GetJobExecution
    | GetJobDependencies
    | GetJobStatus
    | Goodbye
    | CommandOutput
    | CommandEnded
)
FromBoth = BlobGet | BlobPut | GetGoneWorkers | CommandCredit
FromClient = (
    ClientHello
    | SubmitRun
    | GetWorkspaces
    | ListRuns
    | GetRun
    | GetJob
    | Cancel
    | Retry
    | Play
    | GetLog
    | ListWorkers
    | ListEnvironments
    | StopEnvironment
    | ListReleases
    | ListTestResults
    | DrainWorker
    | GetSnapshot
    | OpenCommand
    | CommandInput
    | CommandInputEnd
    | CommandResize
    | CommandSignal
    | CommandClosed
    | Drop
)
ToCoordinator = FromWorker | FromBoth | FromClient
"""All messages that the coordinator's ROUTER accepts, except administrative ones."""
ToWorker = (
    Welcome
    | AssignJob
    | DependencyUpdate
    | CancelJob
    | RevokeJob
    | DiscardAttempt
    | Ack
    | Batch
    | Drain
    | JobExecution
    | JobDependencies
    | JobStatusReply
    | GoneWorkers
    | BlobData
    | BlobState
    | RunCommand
    | CommandInput
    | CommandInputEnd
    | CommandResize
    | CommandSignal
    | CommandClosed
    | CommandCredit
    | DropKept
    | Error
)
ToClient = (
    Welcome
    | RunSubmitted
    | Workspaces
    | RunList
    | RunDetail
    | JobDetail
    | LogData
    | WorkerList
    | EnvironmentList
    | ReleaseList
    | TestResultList
    | GoneWorkers
    | Snapshot
    | Done
    | BlobData
    | BlobState
    | CommandOpened
    | CommandOutput
    | CommandEnded
    | CommandCredit
    | Error
)
PAYLOAD_TYPES = (LogChunk, BlobPut, BlobData, LogData, CommandInput, CommandOutput)
"""Messages followed by one raw frame."""
