"""Workers whose network fails for a while, each in another way: their jobs go on, and nothing of them is lost."""

from __future__ import annotations

import time
from pathlib import Path

import docker
import pytest

from tests.faults import invariants
from tests.faults.engine_events import EngineEvents
from tests.faults.fleet import Fleet
from tests.support.eventually import eventually
from tests.support.system import jobs_of, repository, statuses

FAULTS = ("silent", "deaf", "mute", "lossy")
"""Nothing comes or goes (a half-open connection); nothing comes; nothing goes; 200 ms late and 5 % lost, each way."""
HEAD = "default: {image: longshore/busybox:test}\n"
JOB = """
FAULT:
  tags: [FAULT]
  script:
    - 'i=0; while [ $i -lt TENTHS ]; do echo "line $i"; i=$((i+1)); sleep 0.1; done'
    - echo FAULT > FAULT.txt
  artifacts: {paths: [FAULT.txt]}
after FAULT: {tags: [FAULT], needs: [FAULT], script: [cat FAULT.txt]}
"""


@pytest.mark.parametrize(
    "seconds",
    [
        5,
        pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(300)]),
        pytest.param(120, marks=[pytest.mark.long, pytest.mark.timeout(500)]),
    ],
)
def test_a_job_survives_an_outage_of_its_workers_network(
    scattered: Fleet, tmp_path: Path, docker_client: docker.DockerClient, seconds: int
) -> None:
    fleet = scattered
    events = EngineEvents(docker_client, fleet.coordinator_id)
    for fault in FAULTS:
        fleet.add_worker(fault, slots=1, isolated=True, label=fault)
    fleet.wait_for_workers(len(FAULTS))
    tenths = 10 * seconds + 40
    text = HEAD + "".join(JOB.replace("FAULT", fault).replace("TENTHS", str(tenths)) for fault in FAULTS)
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": text}))
    eventually(lambda: all("line 3\n" in fleet.logged(run, fault) for fault in FAULTS))
    for fault in FAULTS:
        link, process = fleet.members[fault].link, fleet.members[fault].process
        assert link is not None
        assert process is not None
        assert Path(f"/proc/{process.popen.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        if fault == "lossy":
            link.shape(delay=0.2, loss=0.05)
        else:
            link.cut(up=fault != "deaf", down=fault != "mute")
    time.sleep(seconds)
    fleet.mend()
    view = fleet.finished(run, within=seconds + 60)
    assert set(statuses(view).values()) == {"success"}, view
    assert {jobs_of(view)[fault]["attempt"] for fault in FAULTS} == {1}
    for fault in FAULTS:
        lines = [line for line in fleet.log(run, fault).splitlines() if line.startswith("line ")]
        assert lines == [f"line {i}" for i in range(tenths)]
        assert f"{fault}\n" in fleet.log(run, f"after {fault}")
    eventually(lambda: not list(invariants.check_leftovers(docker_client, fleet.coordinator_id, fleet.folder)))
    events.close()
    assert list(invariants.check_engine(events, fleet.state / "longshore.db")) == []
