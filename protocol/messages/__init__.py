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
    FindLines,
    FoundLines,
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
from protocol.messages.deliveries import (
    AddChannel,
    ChangesChannels,
    ChannelAdded,
    ChannelList,
    DeliveryList,
    FromDeliveries,
    ListChannels,
    ListDeliveries,
    PendingDeliveries,
    RemoveChannel,
    SettleDelivery,
    TakeDeliveries,
    ToDeliveries,
)
from protocol.messages.projects import (
    AddProject,
    AddTrigger,
    Administrative,
    ChangeProject,
    FromTeam,
    GetHookSecret,
    GetTrigger,
    ListProjects,
    ListTriggers,
    PendingTriggers,
    ProjectDetail,
    ProjectList,
    RemoveProject,
    RevealSecret,
    SecretValue,
    SettleTrigger,
    ShowProject,
    TakeTriggers,
    ToTeam,
    TriggerAdded,
    TriggerDetail,
    TriggerList,
)
from protocol.messages.schedules import (
    AddSchedule,
    AdvanceSchedule,
    ChangesSchedules,
    FromSchedules,
    ListSchedules,
    PauseSchedule,
    RemoveSchedule,
    RunSchedule,
    ScheduleAdded,
    ScheduleList,
    ToSchedules,
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
    "AddChannel",
    "AddProject",
    "AddSchedule",
    "AddTrigger",
    "Administrative",
    "AdvanceSchedule",
    "AssignJob",
    "Assignment",
    "Batch",
    "BlobData",
    "BlobGet",
    "BlobPut",
    "BlobState",
    "Cancel",
    "CancelJob",
    "ChangeProject",
    "ChangesChannels",
    "ChangesSchedules",
    "ChannelAdded",
    "ChannelList",
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
    "DeliveryList",
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
    "FindLines",
    "FoundLines",
    "FromBoth",
    "FromClient",
    "FromDeliveries",
    "FromSchedules",
    "FromTeam",
    "FromWorker",
    "GetGoneWorkers",
    "GetHookSecret",
    "GetJob",
    "GetJobDependencies",
    "GetJobExecution",
    "GetJobStatus",
    "GetLog",
    "GetRun",
    "GetSnapshot",
    "GetTrigger",
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
    "ListChannels",
    "ListDeliveries",
    "ListEnvironments",
    "ListProjects",
    "ListReleases",
    "ListRuns",
    "ListSchedules",
    "ListTestResults",
    "ListTriggers",
    "ListWorkers",
    "LogChunk",
    "LogData",
    "Message",
    "OpenCommand",
    "Origin",
    "PauseSchedule",
    "PendingDeliveries",
    "PendingTriggers",
    "Play",
    "ProjectDetail",
    "ProjectList",
    "ReleaseList",
    "RemoveChannel",
    "RemoveProject",
    "RemoveSchedule",
    "Retry",
    "RevealSecret",
    "RevokeJob",
    "RunCommand",
    "RunDetail",
    "RunFilter",
    "RunList",
    "RunSchedule",
    "RunSubmitted",
    "ScheduleAdded",
    "ScheduleList",
    "SecretValue",
    "SettleDelivery",
    "SettleTrigger",
    "ShowProject",
    "Signal",
    "Snapshot",
    "Source",
    "StopEnvironment",
    "SubmitRun",
    "TakeDeliveries",
    "TakeTriggers",
    "Terminal",
    "TestResultList",
    "ToClient",
    "ToCoordinator",
    "ToDeliveries",
    "ToSchedules",
    "ToTeam",
    "ToWorker",
    "TriggerAdded",
    "TriggerDetail",
    "TriggerList",
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
    | FindLines
    | ListWorkers
    | ListEnvironments
    | StopEnvironment
    | ListReleases
    | ListTestResults
    | DrainWorker
    | GetSnapshot
    | FromTeam
    | FromSchedules
    | FromDeliveries
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
    | FoundLines
    | WorkerList
    | EnvironmentList
    | ReleaseList
    | TestResultList
    | GoneWorkers
    | Snapshot
    | ToTeam
    | ToSchedules
    | ToDeliveries
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
