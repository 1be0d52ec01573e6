"""Every line of a log has the time at which its worker read it, whoever is killed meanwhile. Lines are chosen by it."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import docker

from tests.support.eventually import DEADLINE, eventually
from tests.support.system import UNTIL_TOLD, System, jobs_of, repository, tell

FILE = rf"""
default: {{image: longshore/busybox:test}}
job:
  script:
    - |
      printf 'one\nhalf '; {UNTIL_TOLD}; printf 'done\n1%%\r100%%\n\377\376\n\033[31mred\033[0m: two\n'
    - printf 'no end'
other: {{script: [echo other, printf 'one\ntwo\n']}}
"""
MILLISECOND = timedelta(milliseconds=1)
STAMPED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) ?(.*)")
COUNTING = """
default: {image: longshore/busybox:test}
count:
  script:
    - 'i=0; while [ $i -lt 40 ]; do echo "line $i"; i=$((i+1)); sleep 0.1; done'
"""


def stamped(text: str) -> list[tuple[datetime, str]]:
    """The lines of a log that was printed with its times."""
    found = [STAMPED.fullmatch(line) for line in text.split("\n")[:-1]]
    assert all(found), text
    return [(datetime.fromisoformat(match[1]), match[2]) for match in found if match]


def test_each_line_is_printed_with_its_time_and_chosen_by_it(
    fleet: System, tmp_path: Path, docker_client: docker.DockerClient
) -> None:
    begun = datetime.now(UTC)
    run = fleet.submit(repository(tmp_path / "log-times", {".gitlab-ci.yml": FILE}))
    eventually(lambda: "\nhalf " in fleet.logged(run, "job"))
    follower = fleet.start("logs", str(run), "job", "-f", "-t")
    filtered = fleet.start("logs", str(run), "-f", "--grep", "^(one|half|no)", "-n", "1")
    eventually(lambda: b"Z one\n" in follower.out.read_bytes())
    eventually(lambda: b"job   | one\n" in filtered.out.read_bytes())
    split = datetime.now(UTC)
    tell(docker_client, fleet.coordinator_id, run)
    fleet.finished(run)

    def logs(*arguments: str) -> str:
        done = fleet.command("logs", str(run), *arguments)
        assert done.status == 0, done.err
        return done.out

    whole = logs("job", "-t")
    lines = stamped(whole)
    assert [text for _, text in lines] == logs("job").split("\n")
    times = [begun - MILLISECOND, *(at for at, _ in lines), datetime.now(UTC)]
    assert times == sorted(times)
    by_text = {text: at for at, text in lines}
    assert by_text["one"] <= split
    assert by_text["half done"] <= split, "a line has the time of its first byte"
    assert by_text["no end"] > split - MILLISECOND
    assert follower.popen.wait(DEADLINE) == filtered.popen.wait(DEADLINE) == 0
    assert follower.out.read_bytes().decode(errors="replace") == whole
    of_job = [line for line in filtered.out.read_text().splitlines() if line.startswith("job ")]
    assert of_job == ["job   | one", "job   | half done", "job   | no end"]

    since = by_text["no end"].isoformat()
    assert stamped(logs("job", "-t", "--since", since)) == [line for line in lines if line[0] >= by_text["no end"]]
    assert logs("job", "--grep", "^red: t", "--since", "1 hour") == "\x1b[31mred\x1b[0m: two\n"
    assert logs("job", "--grep", "%$|no end") == "1%\r100%\n$ printf 'no end'\nno end\n"
    assert [line.split() for line in logs("-t", "-n", "1").splitlines()] == [
        ["job", "|", stamp_of(by_text["no end"]), "no", "end"],
        ["other", "|", stamp_of(stamped(logs("other", "-t"))[-1][0]), "two"],
    ]
    bad = fleet.command("logs", str(run), "job", "--grep", "(")
    assert (bad.status, "--grep: /(/ is not a regular expression" in bad.err) == (2, True)


def test_every_line_has_one_time_whoever_is_killed_meanwhile(system: System, tmp_path: Path) -> None:
    """The coordinator's index is torn too, as a power cut may leave it."""
    coordinator = system.start_coordinator()
    worker = system.start_worker("w1")
    system.wait_for_workers(1)
    run = system.submit(repository(tmp_path / "project", {".gitlab-ci.yml": COUNTING}))
    follower = system.start("logs", str(run), "count", "-f", "-t")
    eventually(lambda: "line 3\n" in system.logged(run, "count"))
    coordinator.kill()
    (index,) = (system.folder / "state" / "logs").glob("*/*.job.times")
    with index.open("ab") as file:
        file.truncate(index.stat().st_size - 1)
        file.seek(0, os.SEEK_END)
        file.write(bytes(100))
    coordinator = system.start_coordinator()
    eventually(lambda: "line 12\n" in system.logged(run, "count"))
    worker.kill()
    system.start_worker("w1")
    eventually(lambda: "line 25\n" in system.logged(run, "count"))
    coordinator.kill()
    system.start_coordinator()
    view = system.finished(run)
    assert jobs_of(view)["count"]["attempt"] == 1
    lines = stamped(system.command("logs", str(run), "count", "-t").out)
    assert [text for _, text in lines if text.startswith("line ")] == [f"line {number}" for number in range(40)]
    times = [at for at, _ in lines]
    assert times == sorted(times)
    assert len(set(times)) > 10, "the times of those read one by one differ"
    assert follower.popen.wait(DEADLINE) == 0
    assert [text for _, text in stamped(follower.out.read_text())] == [text for _, text in lines]


def stamp_of(at: datetime) -> str:
    """A time as `logs -t` prints it."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
