"""The wall clocks of a coordinator and a worker jump while jobs run, and again before both start anew."""

from __future__ import annotations

from pathlib import Path

import docker
import pytest

from tests.faults import invariants
from tests.faults.engine_events import EngineEvents
from tests.faults.fleet import Fleet
from tests.support.eventually import eventually
from tests.support.system import jobs_of, repository

HOUR = 3600.0
JUMPING = Path(__file__).with_name("jumping")
TICKS = 'while true; do cut -d" " -f1 /proc/uptime; sleep 0.2; done'
PIPELINE = f"""
default: {{image: "longshore/busybox:test"}}
stages: [first, second]
lasting: {{stage: first, script: ['i=0; while [ $i -lt 30 ]; do echo "line $i"; i=$((i+1)); sleep 0.2; done']}}
moving:
  stage: first
  retry: {{max: 2, when: [runner_system_failure]}}
  script: ['i=0; while [ $i -lt 30 ]; do echo "line $i"; i=$((i+1)); sleep 0.2; done']
limited: {{stage: first, timeout: 6 seconds, allow_failure: true, script: ['{TICKS}']}}
delayed: {{stage: first, needs: [], when: delayed, start_in: 6 seconds, script: ['cut -d" " -f1 /proc/uptime']}}
last: {{stage: second, script: [echo last]}}
"""
"""Nothing in it that takes an hour; a clock that is taken at its word makes it a moment, or an hour."""


class WallClock:
    """The wall clock of the processes that have its `environment`."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.environment = {"PYTHONPATH": str(JUMPING), "JUMPING_CLOCK": str(file)}
        self.set(0.0)

    def set(self, offset: float) -> None:
        """From now on it is so many seconds off the real one."""
        new = self.file.with_suffix(".new")
        new.write_text(str(offset))
        new.replace(self.file)


def uptimes(log: str) -> list[float]:
    """What a job has printed of /proc/uptime."""
    return [float(line) for line in log.splitlines() if line and not line.startswith("$")]


@pytest.mark.parametrize("jump", [HOUR, pytest.param(-HOUR, marks=pytest.mark.long)])
def test_jumps_of_the_wall_clock_under_processes_and_between_their_lives_change_no_timeout_delay_lease_or_order(
    fleet: Fleet, tmp_path: Path, docker_client: docker.DockerClient, jump: float
) -> None:
    """The worker's clock jumps the other way: one test, both directions."""
    clocks = WallClock(tmp_path / "coordinator.clock"), WallClock(tmp_path / "worker.clock")
    fleet.stop()
    fleet.settings |= {"lease": 30.0, "lease_margin": 15.0}  # the restarts may take longer than an impatient one
    fleet.extra = clocks[0].environment
    fleet.start_coordinator()
    fleet.extra = {}
    worker = fleet.add_worker("w", slots=4, PYTHONPATH=str(JUMPING), JUMPING_CLOCK=str(clocks[1].file))
    fleet.wait_for_workers(1)
    events = EngineEvents(docker_client, fleet.coordinator_id)
    submitted = float(Path("/proc/uptime").read_text().split()[0])
    run = fleet.submit(repository(tmp_path / "project", {".gitlab-ci.yml": PIPELINE}))
    eventually(lambda: all("line 1\n" in fleet.logged(run, job) for job in ("lasting", "moving")))
    eventually(lambda: uptimes(fleet.logged(run, "limited")))
    for clock, way in zip(clocks, (1, -1), strict=True):
        clock.set(way * jump)
    eventually(lambda: all("line 10\n" in fleet.logged(run, job) for job in ("lasting", "moving")))
    assert worker.process is not None
    assert fleet.coordinator is not None
    fleet.coordinator.kill()
    worker.process.kill()
    for clock, way in zip(clocks, (1, -1), strict=True):
        clock.set(way * -jump)
    fleet.restart(worker)
    fleet.extra = clocks[0].environment
    fleet.start_coordinator()
    fleet.extra = {}
    jobs = jobs_of(fleet.finished(run))
    assert {name: (job["status"], job["failure_reason"]) for name, job in jobs.items()} == {
        "lasting": ("success", None),
        "moving": ("success", None),
        "limited": ("failed", "job_execution_timeout"),
        "delayed": ("success", None),
        "last": ("success", None),
    }
    assert {job["attempt"] for job in jobs.values()} == {1}
    ticks = uptimes(fleet.log(run, "limited"))
    assert ticks[-1] - ticks[0] > 3
    (began,) = uptimes(fleet.log(run, "delayed"))
    assert began - submitted > 6
    for job in ("lasting", "moving"):
        lines = [int(line.split()[1]) for line in fleet.log(run, job).splitlines() if line.startswith("line ")]
        assert lines == list(range(30))
    events.close()
    assert list(invariants.check_engine(events, fleet.state / "longshore.db")) == []
    later = fleet.submit(tmp_path / "project", "--job", "last")
    assert [each["id"] for each in fleet.command("list", "--json").json][:2] == [later, run]
