"""What `run` and `up` are told of the workers that they bring: tags, allowances, limits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.statuses import WorkerStatus
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import Process, System, jobs_of, nobody_serves, repository, statuses

TAGGED = """
default: {image: longshore/busybox:test}
first: {tags: [saas-linux-small-amd64], script: [echo ran]}
second: {tags: [a, b], script: [echo ran]}
third: {script: [echo ran]}
"""
PRIVILEGES = """
job:
  image: longshore/busybox:test
  script:
    - grep NoNewPrivs /proc/self/status
    - cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max
"""
LOCAL_UP = ("up", "--bind", "tcp://127.0.0.1:0")


def project_of(folder: Path, file: str) -> Path:
    return repository(folder, {".gitlab-ci.yml": file})


@contextlib.contextmanager
def up(system: System, *arguments: str, workers: int | None = None) -> Iterator[Process]:
    """`longshore up`, from when all its workers are there to its end."""
    if workers is None:
        workers = int(arguments[arguments.index("--workers") + 1]) if "--workers" in arguments else 1
    process = system.start(*LOCAL_UP, *arguments, name=f"up-{len(system.processes)}")
    eventually(lambda: "longshore run" in process.out.read_text() or process.popen.poll() is not None)
    assert process.popen.poll() is None, process.said
    with system.client() as client:
        eventually(lambda: sum(each.status is WorkerStatus.ONLINE for each in client.workers()) >= workers)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.terminate()


def test_tags_choose_nothing_on_one_s_own_machine_and_that_is_said_once(system: System, tmp_path: Path) -> None:
    done = system.command("run", cwd=project_of(tmp_path / "project", TAGGED))
    assert done.status == 0, done.err
    assert done.err == "longshore: 2 jobs have tags, which are ignored here; set worker labels with --label L\n"
    assert statuses(system.show(1)) == {"first": "success", "second": "success", "third": "success"}


def test_nothing_is_said_of_tags_where_there_are_none(system: System, tmp_path: Path) -> None:
    file = "job: {image: longshore/busybox:test, script: [echo ran]}"
    assert system.command("run", cwd=project_of(tmp_path / "project", file)).err == ""


def test_labels_that_a_run_is_given_choose(system: System, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", TAGGED)
    run = system.start("run", "--label", "a", "--label", "b", cwd=project)
    eventually(
        lambda: "first | pending: no worker has the tag saas-linux-small-amd64" in " ".join(run.out.read_text().split())
    )
    ended = {"first": "pending", "second": "success", "third": "success"}
    eventually(lambda: {name: system.status(1, name) for name in ended}, so=lambda now: now == ended)
    assert run.terminate() == 3
    assert "tags" not in run.said


def test_tags_choose_nothing_at_up_unless_it_has_labels(system: System, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", TAGGED)
    with up(system, "--slots", "1"):
        done = system.command("run", cwd=project)
        assert done.status == 0, done.err
        assert "2 jobs have tags, which are ignored here" in done.err
        assert [worker["labels"] for worker in system.workers()] == [["*"]]


def test_options_of_a_worker_reach_the_jobs_of_run(system: System, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", PRIVILEGES)
    strict = system.command("run", "--pids-limit", "77", cwd=project)
    assert strict.status == 0, strict.err
    assert "NoNewPrivs:\t1\n" in system.log(1, "job")
    assert "\n77\n" in system.log(1, "job")
    allowed = system.command("run", "--allow", "new-privileges", cwd=project)
    assert allowed.status == 0, allowed.err
    assert "NoNewPrivs:\t0\n" in system.log(2, "job")


def test_options_of_a_worker_reach_the_jobs_of_up(system: System, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", PRIVILEGES)
    options = ("--slots", "3", "--allow", "new-privileges", "--pids-limit", "78", "--label", "big")
    with up(system, "--workers", "2", *options):
        told = [(each["name"], each["slots"], each["labels"]) for each in system.workers()]
        assert told == [("local", 3, ["big"]), ("local-2", 3, ["big"])]
        done = system.command("run", cwd=project)
        assert done.status == 0, done.err
        assert "NoNewPrivs:\t0\n" in system.log(1, "job")
        assert "\n78\n" in system.log(1, "job")


def test_options_of_a_run_hold_in_the_background_too(system: System, tmp_path: Path) -> None:
    run = system.submit(project_of(tmp_path / "project", PRIVILEGES), "--allow", "new-privileges", "--pids-limit", "79")
    assert system.finished(run)["status"] == "success"
    assert "NoNewPrivs:\t0\n" in system.log(run, "job")
    assert "\n79\n" in system.log(run, "job")
    eventually(lambda: nobody_serves(system))


def test_only_allowed_images_run(system: System, tmp_path: Path) -> None:
    done = system.command("run", "--allow-image", "alpine:*", cwd=project_of(tmp_path / "project", TAGGED))
    assert done.status == 1
    message = jobs_of(system.show(1))["third"]["message"]
    assert "'longshore/busybox:test' is not allowed on this worker; allowed: alpine:* (--allow-image)" in message


@pytest.mark.parametrize(
    ("arguments", "mend"),
    [
        (["--allow", "everything"], "unknown --allow 'everything'; use privileged"),
        (["--limit", "jobs=3"], "bad limit 'jobs=3'"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "up"])
def test_an_option_that_can_t_be_is_refused_before_anything_begins(
    system_without_docker: System, tmp_path: Path, verb: str, arguments: list[str], mend: str
) -> None:
    done = system_without_docker.command(verb, *arguments, cwd=project_of(tmp_path / "project", TAGGED))
    assert done.status == 2
    assert mend in done.err
    assert not (system_without_docker.folder / "state" / "longshore.db").exists()


def test_options_that_come_too_late_are_said_to_have_no_effect(system: System, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", PRIVILEGES)
    with up(system):
        done = system.command("run", "--allow", "privileged", "--slots", "5", cwd=project)
        assert done.status == 0, done.err
        assert "no effect here: --slots, --allow. The coordinator at tcp://127.0.0.1:" in done.err
        assert "NoNewPrivs:\t1\n" in system.log(1, "job")


def test_what_up_has_started_ends_with_it_however_it_ends(system: System) -> None:
    with up(system, "--workers", "2") as killed:
        children = Path(f"/proc/{killed.popen.pid}/task/{killed.popen.pid}/children").read_text().split()
        assert len(children) == 3
        killed.kill()
        eventually(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
        assert nobody_serves(system)


def test_the_next_up_goes_on_with_the_jobs_of_one_that_was_killed(system: System, tmp_path: Path) -> None:
    file = """
default: {image: longshore/busybox:test}
a: {script: [echo up, sleep 6, echo done]}
b: {script: [echo up, sleep 6, echo done]}
"""
    with up(system, "--workers", "2", "--slots", "1") as killed:
        run = system.submit(project_of(tmp_path / "project", file))
        eventually(lambda: all("up\n" in system.logged(run, job) for job in "ab"))
        killed.kill()
    with up(system):  # at once, and with fewer workers
        view = system.finished(run)
    assert statuses(view) == {"a": "success", "b": "success"}
    assert {job["attempt"] for job in jobs_of(view).values()} == {1}
    assert {job["worker"] for job in jobs_of(view).values()} == {"local", "local-2"}


def test_a_run_goes_on_by_itself_with_its_jobs_when_up_is_killed(system: System, tmp_path: Path) -> None:
    file = "job: {image: longshore/busybox:test, script: [echo up, sleep 6, echo done]}"
    with up(system) as killed:
        run = system.start("run", cwd=project_of(tmp_path / "project", file))
        eventually(lambda: "job | up\n" in run.out.read_text())
        killed.kill()
    assert run.popen.wait(DEADLINE) == 0, run.said
    assert run.out.read_text().count("job | done\n") == 1


def test_up_goes_on_with_the_jobs_of_a_run_that_was_killed(system: System, tmp_path: Path) -> None:
    file = "job: {image: longshore/busybox:test, script: [echo up, sleep 5, echo done]}"
    run = system.start("run", cwd=project_of(tmp_path / "project", file))
    eventually(lambda: "job | up\n" in run.out.read_text())
    run.kill()
    with up(system):
        view = system.finished(1)
    assert (view["status"], jobs_of(view)["job"]["attempt"]) == ("success", 1)


def test_a_run_takes_its_settings_from_files_and_the_nearest_wins(system: System, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[worker]\npids-limit = 61\nallow = ["new-privileges"]\n')
    system.extra["LONGSHORE_CONFIG"] = str(config)
    project = project_of(tmp_path / "project", PRIVILEGES)
    assert system.command("run", cwd=project).status == 0
    (project / ".longshore.toml").write_text("worker.pids-limit = 60\n")
    assert system.command("run", cwd=project).status == 0
    system.extra["LONGSHORE_PIDS_LIMIT"] = "62"
    assert system.command("run", cwd=project).status == 0
    assert system.command("run", "--pids-limit", "63", cwd=project).status == 0
    logs = [system.log(run, "job").splitlines() for run in (1, 2, 3, 4)]
    assert [log[-1] for log in logs] == ["61", "60", "62", "63"]
    assert all("NoNewPrivs:\t0" in log for log in logs)


def test_a_project_s_file_allows_nothing_and_says_what_it_asks_for(system: System, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", PRIVILEGES)
    (project / ".longshore.toml").write_text('worker.allow = ["new-privileges"]\n')
    config = tmp_path / "config.toml"
    system.extra["LONGSHORE_CONFIG"] = str(config)
    done = system.command("run", cwd=project)
    assert done.status == 0
    asks = f"longshore: {project}/.longshore.toml requests --allow new-privileges; only you can grant that"
    assert asks in done.err
    assert "NoNewPrivs:\t1\n" in system.log(1, "job")
    config.write_text(f'[projects."{project}".worker]\nallow = ["new-privileges"]\n')
    assert system.command("run", cwd=project).err == ""
    assert "NoNewPrivs:\t0\n" in system.log(2, "job")


def test_up_takes_its_settings_from_files(system: System, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[worker]\nname = "not for up"\nslots = 7\nlabel = ["big"]\n[up]\nworkers = 2\nlabel = ["own"]\n')
    system.extra["LONGSHORE_CONFIG"] = str(config)
    with up(system, workers=2):
        told = [(each["name"], each["slots"], each["labels"]) for each in system.workers()]
    assert told == [("local", 7, ["own"]), ("local-2", 7, ["own"])]


def test_a_job_that_fails_for_want_of_a_privilege_names_the_option(system: System, tmp_path: Path) -> None:
    file = """
default: {image: longshore/busybox:test}
mounts: {script: [mkdir /m, mount -t tmpfs none /m]}
fails: {script: [exit 1]}
"""
    done = system.command("run", cwd=project_of(tmp_path / "project", file))
    assert done.status == 1
    said = {name: job["message"] for name, job in jobs_of(system.show(1)).items()}
    assert said["fails"] == "exit code 1"
    assert said["mounts"].startswith("exit code 1; it may need --allow privileged, an option of run, up and worker")
    assert "it may need --allow privileged" in done.out


def test_a_service_that_fails_for_want_of_a_privilege_names_the_option(system: System, tmp_path: Path) -> None:
    file = """
job:
  image: longshore/busybox:test
  services:
    - name: longshore/busybox:test
      alias: needy
      command: [sh, -c, "mount -t tmpfs none /mnt 2>&1 || mount -t tmpfs none /tmp; sleep 100"]
  script: [sleep 1, exit 1]
"""
    done = system.command("run", cwd=project_of(tmp_path / "project", file), within=2 * DEADLINE)
    assert done.status == 1
    message = jobs_of(system.show(1))["job"]["message"]
    assert "a service (needy) needs --allow privileged, an option of run, up and worker" in message


def test_a_project_s_settings_are_no_news_at_a_named_coordinator(fleet: System, tmp_path: Path) -> None:
    project = project_of(tmp_path / "project", TAGGED)
    (project / ".longshore.toml").write_text('worker = {slots = 1, allow = ["privileged"]}\n')
    assert fleet.command("run", "--job", "third", cwd=project).err == ""
    done = fleet.command("run", "--job", "third", "--slots", "2", cwd=project)
    assert done.err.startswith("longshore: no effect here: --slots. The coordinator at ")
