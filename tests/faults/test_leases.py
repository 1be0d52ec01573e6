"""A job that moves is never in two places, though its first worker can't stop it any more: by Docker's own clock."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import docker
import pytest

from tests.faults import invariants
from tests.faults.engine_events import EngineEvents
from tests.faults.fleet import Fleet
from tests.support.eventually import eventually
from tests.support.system import jobs_of, repository

MOVING = """
default: {image: longshore/busybox:test}
moving:
  needs: []
  retry: {max: 2, when: [runner_system_failure]}
  script: ['i=0; while [ $i -lt 80 ]; do echo "line $i"; i=$((i+1)); sleep 0.1; done']
"""


@pytest.mark.parametrize(
    "fault",
    ["killed", *(pytest.param(fault, marks=pytest.mark.long) for fault in ("suspended", "cut off", "deaf", "mute"))],
)
def test_a_job_that_moves_has_ended_before_it_begins_elsewhere(
    scattered: Fleet, tmp_path: Path, docker_client: docker.DockerClient, fault: str
) -> None:
    fleet = scattered
    fleet.add_worker("stray", slots=1, isolated=True)
    fleet.wait_for_workers(1)
    events = EngineEvents(docker_client, fleet.coordinator_id)
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": MOVING}))
    eventually(lambda: "line 3\n" in fleet.logged(run, "moving"))
    stray = fleet.members["stray"]
    assert stray.process is not None
    assert stray.link is not None
    if fault == "killed":
        stray.process.kill()
    elif fault == "suspended":
        os.kill(stray.process.popen.pid, signal.SIGSTOP)
    else:
        stray.link.cut(up=fault != "deaf", down=fault != "mute")
    fleet.add_worker("other", slots=1)
    eventually(lambda: fleet.job(run, "moving").worker == "other")
    eventually(lambda: len(events.started()) == 2)
    fleet.mend()
    view = fleet.finished(run)
    assert jobs_of(view)["moving"]["status"] == "success", view
    assert jobs_of(view)["moving"]["attempt"] == 2
    lines = [line for line in fleet.log(run, "moving").splitlines() if line.startswith("line")]
    assert lines == [f"line {i}" for i in range(80)]
    eventually(lambda: not list(invariants.check_leftovers(docker_client, fleet.coordinator_id, fleet.folder)))
    events.close()
    assert list(invariants.check_engine(events, fleet.state / "longshore.db")) == []
