"""What an attempt needs before its sandbox is prepared: an able executor, and the run's snapshot on this host."""

from __future__ import annotations

from daemon.checkouts.git import Processes
from daemon.checkouts.store import CheckoutStores
from daemon.executors.base import Executor, JobFailed, Workspace
from daemon.executors.common.tar_workspace import TarWorkspace
from daemon.upstream.transfers import Transfer
from protocol import workspace as snapshots
from protocol.errors import reason_of
from protocol.messages import Assignment
from protocol.statuses import FailureReason
from protocol.views import Capability


def check_capabilities(assignment: Assignment, executor: Executor) -> None:
    """Raises JobFailed for a job that needs a capability that the executor lacks."""
    job, able = assignment.job, executor.capabilities
    asked = {
        Capability.SERVICES: ("services", bool(job.services)),
        Capability.FILES: ("artifacts or caches", bool(job.artifacts or job.caches)),
        Capability.LIMITS: ("limits of CPU or memory", bool(job.resources.cpus or job.resources.memory)),
    }
    for capability, (what, wanted) in asked.items():
        if wanted and capability not in able:
            message = f"the job has {what}, which this worker's executor {executor.kind!r} does not support"
            raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, message)


def fetch_workspace(
    snapshot: snapshots.Workspace, project: str, transfer: Transfer, checkouts: CheckoutStores, git: Processes
) -> Workspace:
    """The run's snapshot, on this host. Raises JobFailed, TransferAborted."""
    if isinstance(snapshot, snapshots.TarWorkspace):
        return TarWorkspace(transfer.workspace(snapshot.digest, snapshot.size), snapshot.digest)
    try:
        return checkouts.workspace(
            snapshot,
            project,
            lambda pack: transfer.workspace(pack.digest, pack.size),
            transfer.checkout(),
            lambda pack: transfer.drop(pack.digest),
            git,
        )
    except OSError as error:
        message = f"the workspace can't be checked out: {reason_of(error)}"
        raise JobFailed(FailureReason.RUNNER_SYSTEM_FAILURE, message) from error
