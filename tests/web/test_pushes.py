"""Pushes to Longshore itself: real git over HTTP, a real launcher and worker."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from protocol import admin
from protocol import messages as m
from protocol.keys import JoinToken
from protocol.projects import ProjectSpec
from tests.conftest import Images
from tests.support.eventually import eventually
from tests.support.system import commit_all, repository
from tests.web.hooks import deliveries as d
from tests.web.site import Site

PIPELINE = """
default: {image: longshore/busybox:test}
build: {script: ['echo "level $LEVEL"', 'test ! -e broken']}
tell: {stage: deploy, script: ['echo "$CI_PIPELINE_SOURCE $CI_COMMIT_BRANCH $CI_COMMIT_TAG"']}
"""


class Pusher:
    """Somebody with a clone and a password."""

    def __init__(self, site: Site, folder: Path, role: str = "operator") -> None:
        self.site = site
        self.folder = repository(folder, {".gitlab-ci.yml": PIPELINE})
        with site.client() as client:
            created = client.request(admin.CreateToken, admin.TokenCreated, role=role)
        assert site.system.address is not None
        self.password = str(JoinToken(site.system.address, created.server, created.secret))

    def push(self, *arguments: str, project: str = "team/app", user: str = "ada") -> subprocess.CompletedProcess[str]:
        """`git push`, as the user that git's credential helper knows."""
        url = self.site.url.replace("://", f"://{user}:{self.password}@") + f"/git/{project}.git"
        command = ["git", "push", url, *arguments]
        environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def commit(self, **files: str) -> str:
        """Commits files; gives the commit."""
        for name, content in files.items():
            (self.folder / name).write_text(content)
        commit_all(self.folder)
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    def served(self, ref: str, project: str = "team/app") -> str:
        """The commit of a ref in the repository that Longshore serves."""
        path = self.site.system.folder / "state" / "pushes" / f"{project}.git"
        return subprocess.run(
            ["git", "rev-parse", "--verify", "-q", ref], cwd=path, capture_output=True, text=True, check=False
        ).stdout.strip()


@pytest.fixture(scope="module")
def pushing(
    tmp_path_factory: pytest.TempPathFactory, images: Images, docker_client: docker.DockerClient
) -> Iterator[Site]:
    """A site with a worker and the project team/app, which has no other repository."""
    with Site(tmp_path_factory.mktemp("pushing"), docker=True) as site:
        site.system.start_worker("w1", "--slots", "2")
        with site.client() as client:
            client.request(m.AddProject, m.Done, project=ProjectSpec(name="team/app"))
        yield site


def test_a_push_starts_a_run_and_shows_its_progress(pushing: Site, tmp_path: Path) -> None:
    ada = Pusher(pushing, tmp_path / "ada")
    done = ada.push("main", "-o", 'ci.variable="LEVEL=3"')
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix("remote: ").strip() for line in done.stderr.splitlines()]
    (trigger,) = pushing.triggers("team/app")
    assert (trigger.ref, trigger.user, trigger.state) == ("main", "ada", "launched")
    run = trigger.run
    assert run is not None
    assert f"Longshore: run {run} of main" in lines
    assert any(line.startswith("✔ tell: success") for line in lines), lines
    assert f"Longshore: run {run}: success; longshore show {run}" in lines
    assert "level 3" in pushing.system.logged(run, "build")
    assert "push main \n" in pushing.system.logged(run, "tell")
    ada.commit(more="text")
    assert "no run (ci.skip)" in ada.push("main", "-o", "ci.skip").stderr
    assert len(pushing.triggers("team/app")) == 1
    ada.git("-c", "user.name=Ada", "-c", "user.email=a@example.com", "tag", "-a", "v1", "-m", "One")
    tagged = ada.push("v1")
    assert tagged.returncode == 0, tagged.stderr
    tag = pushing.triggers("team/app")[0]
    assert (tag.ref, tag.tag, tag.state) == ("v1", True, "launched")
    assert tag.run is not None
    assert "push  v1\n" in pushing.system.logged(tag.run, "tell")
    assert ada.served("refs/pushes/" + ada.git("rev-parse", "HEAD")) == "", "kept only until its run has started"
    clone = tmp_path / "clone"
    url = pushing.url.replace("://", f"://x:{ada.password}@") + "/git/team/app.git"
    subprocess.run(["git", "clone", "-q", url, str(clone)], check=True, capture_output=True)
    assert (clone / "more").exists()


def test_a_push_that_waits_is_accepted_only_if_its_run_succeeds(pushing: Site, tmp_path: Path) -> None:
    eve = Pusher(pushing, tmp_path / "eve")
    eve.git("checkout", "-q", "-b", "waiting")
    broken = eve.commit(broken="yes")
    refused = eve.push("waiting", "-o", "ci.wait", user="eve")
    assert refused.returncode != 0
    assert "✘ build: failed" in refused.stderr
    assert "pre-receive hook declined" in refused.stderr
    assert eve.served("refs/heads/waiting") == ""
    assert eve.served(f"refs/pushes/{broken}") == ""
    eve.git("rm", "-q", "broken")
    mended = eve.commit()
    accepted = eve.push("waiting", "-o", "ci.wait", user="eve")
    assert accepted.returncode == 0, accepted.stderr
    assert eve.served("refs/heads/waiting") == mended
    states = [(trigger.sha, trigger.state) for trigger in pushing.triggers("team/app")[:2]]
    assert states == [(mended, "launched"), (broken, "launched")]
    invalid = eve.commit(**{".gitlab-ci.yml": "build: {scrip: [true]}\n"})
    done = eve.push("waiting", "-o", "ci.wait", user="eve")
    assert done.returncode != 0
    assert "scrip" in done.stderr
    assert eve.served("refs/heads/waiting") != invalid


def test_only_operators_push_and_only_to_projects_and_branches(pushing: Site, tmp_path: Path) -> None:
    ops, viewer = Pusher(pushing, tmp_path / "ops"), Pusher(pushing, tmp_path / "viewer", role="viewer")
    before = len(pushing.triggers("team/app"))
    for done, word in (
        (viewer.push("main:looked", user="vic"), "may read here, but not push"),
        (ops.push("main", project="team/other", user="ops"), "there is no project team/other"),
        (ops.push("main", project="../../etc", user="ops"), ""),
        (ops.push("main:refs/pull/7/head", user="ops"), "neither a branch nor a tag"),
        (ops.push("main:refs/pushes/x", user="ops"), ""),
        (ops.push("main:odd", "-o", "ci.unknown", user="ops"), "ci.unknown"),
        (ops.push("main:odd", "-o", "ci.variable=A B=1", user="ops"), "ci.variable=NAME=VALUE"),
    ):
        assert done.returncode != 0
        assert word in done.stderr, done.stderr
    right, ops.password = ops.password, ops.password[:-4] + "AAAA"
    assert "Authentication failed" in ops.push("main:odd", user="ops").stderr
    ops.password = right
    assert pushing.system.command("keys", "revoke", "ops").status == 0
    assert "Authentication failed" in ops.push("main:odd", user="ops").stderr
    assert ops.served("refs/heads/odd") == ""
    assert len(pushing.triggers("team/app")) == before
    for request in (
        "/git/team/app.git/HEAD",
        "/git/team/app.git/objects/info/packs",
        "/git/team/app.git/git-upload-pack",
    ):
        assert pushing.post(request, {}, b"").status in (401, 404, 405)
    assert "Traceback" not in pushing.web.said


def test_somebody_who_hangs_up_leaves_nothing_running_but_the_run(pushing: Site, tmp_path: Path) -> None:
    pat = Pusher(pushing, tmp_path / "pat")
    pat.git("checkout", "-q", "-b", "long")
    held = pat.commit(**{".gitlab-ci.yml": PIPELINE + "hold: {script: ['until [ -e /told ]; do sleep 0.05; done']}\n"})
    url = pushing.url.replace("://", f"://pat:{pat.password}@") + "/git/team/app.git"
    process = subprocess.Popen(["git", "push", url, "long"], cwd=pat.folder, stderr=subprocess.DEVNULL, process_group=0)
    try:
        run = eventually(lambda: next((t.run for t in pushing.triggers("team/app") if t.sha == held), None))
        assert run is not None
        eventually(lambda: pushing.system.status(run, "hold"), so=lambda status: status == "running")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert pat.served("refs/heads/long") == held
    web = pushing.web.popen.pid
    eventually(lambda: children(web), so=lambda left: left == [])
    assert pushing.system.status(run, "hold") == "running"
    assert pushing.system.command("cancel", str(run)).status == 0
    assert pushing.system.finished(run)["status"] == "canceled"


def children(pid: int) -> list[str]:
    """The command lines of a process' children."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{child}/cmdline").read_text() for child in listed if Path(f"/proc/{child}").exists()]


def test_the_hook_of_a_repository_on_this_host_starts_runs(pushing: Site, tmp_path: Path) -> None:
    bare = tmp_path / "local.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(bare)], check=True)
    system = pushing.system
    unknown = system.command("hook", "install", str(bare))
    assert (unknown.status, "longshore project add GROUP/NAME" in unknown.err) == (2, True)
    assert "no git repository" in system.command("hook", "install", str(tmp_path)).err
    pushing.add_project("local/app", url=str(bare))
    done = system.command("hook", "install", str(bare))
    assert done.status == 0, done.err
    assert system.command("hook", "install", str(bare)).status == 0, "its own hook is replaced"
    clone = repository(tmp_path / "clone", {".gitlab-ci.yml": PIPELINE})
    subprocess.run(["git", "config", "receive.advertisePushOptions", "true"], cwd=bare, check=True)
    push = ["git", "push", str(bare), "main", "-o", "ci.variable=LEVEL=5"]
    pushed = subprocess.run(push, cwd=clone, capture_output=True, text=True, check=False)
    assert pushed.returncode == 0, pushed.stderr
    (trigger,) = pushing.triggers("local/app")
    assert trigger.run is not None, pushed.stderr
    assert f"remote: Longshore: run {trigger.run}: success" in pushed.stderr
    assert "level 5" in system.logged(trigger.run, "build")
    sha = subprocess.run(["git", "rev-parse", "main"], cwd=clone, capture_output=True, text=True).stdout.strip()
    headers, body = d.PUSHES["gitea"](after=sha, path="anything/app")
    assert [pushing.hook("local/app", (headers, body)).status for _ in range(3)] == [202, 200, 200]
    launched = eventually(lambda: pushing.triggers("local/app")[0], so=lambda newest: newest.state == "launched")
    assert launched.run is not None
    assert system.finished(launched.run)["status"] == "success"
    assert len(pushing.triggers("local/app")) == 2
    (bare / "hooks" / "post-receive").write_text("#!/bin/sh\n")
    taken = system.command("hook", "install", str(bare))
    assert (taken.status, "add this line" in taken.err) == (2, True)
