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
    "MOST_STATUSES",
    "MOST_WORKERS_ASKED",
    "PAYLOAD_TYPES",
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
    "DeliveryList",
    "Dependency",
    "DependencyUpdate",
    "DiscardAttempt",
    "Done",
    "Drain",
    "DrainWorker",
    "EnvironmentList",
    "Error",
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
    "Snapshot",
    "Source",
    "StopEnvironment",
    "SubmitRun",
    "TakeDeliveries",
    "TakeTriggers",
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
)
FromBoth = BlobGet | BlobPut | GetGoneWorkers
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
    | FromTeam
    | FromSchedules
    | FromDeliveries
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
    | ToTeam
    | ToSchedules
    | ToDeliveries
    | Done
    | BlobData
    | BlobState
    | Error
)
PAYLOAD_TYPES = (LogChunk, BlobPut, BlobData, LogData)
"""Messages followed by one raw frame."""
