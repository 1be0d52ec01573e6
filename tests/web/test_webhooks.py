"""Webhooks as users and attackers send them: real processes, real HTTP."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
from pathlib import Path

import pytest

from protocol.projects import ProjectSpec
from tests.support.eventually import DEADLINE, eventually
from tests.web.hooks import deliveries as d
from tests.web.site import Site

OUTCOMES = [(202, "accepted"), (200, "already"), (200, "already")]


def outcomes(body: bytes) -> list[str]:
    return [trigger["outcome"] for trigger in json.loads(body)["triggers"]]


@pytest.mark.parametrize("name", d.PUSHES)
def test_a_signed_delivery_adds_one_trigger_however_often_it_comes(site: Site, name: str) -> None:
    project = f"team/{name}"
    site.add_project(project)
    build = d.PUSHES[name]
    headers, body = build()
    for signed in (build(secret="a wrong secret"), ({"Content-Type": "application/json"}, body), ({}, b"")):
        assert site.hook(project, signed).status == 403
    unsigned = {key: value for key, value in headers.items() if "ignature" not in key and "oken" not in key}
    unknown = site.hook("team/unknown", (headers, body))
    refused = site.hook(project, (unsigned, body))
    assert (unknown.status, unknown.data) == (refused.status, refused.data), "nobody can ask which projects there are"
    assert site.triggers(project) == []
    for status, outcome in OUTCOMES:
        answer = site.hook(project, (headers, body))
        assert (answer.status, outcomes(answer.data)) == (status, [outcome])
    (trigger,) = site.triggers(project)
    assert (trigger.ref, trigger.sha, trigger.source, trigger.title) == ("main", d.SHA, "push", "Add a test")
    assert site.hook(project, build(ref="refs/heads/second")).status == 202


def test_a_replay_under_other_headers_starts_nothing(site: Site) -> None:
    site.add_project("team/replayed")
    headers, body = d.gitea(d.gitea_push())
    assert site.hook("team/replayed", (headers, body)).status == 202
    relabelled = {key: value for key, value in headers.items() if "itea" not in key and "orgejo" not in key}
    for replay in (headers | {"X-Gitea-Delivery": "another"}, relabelled | {"X-GitHub-Delivery": "another"}):
        answer = site.hook("team/replayed", (replay, body))
        assert (answer.status, outcomes(answer.data)) == (200, ["already"])
    assert len(site.triggers("team/replayed")) == 1


def test_only_the_hook_of_its_own_repository_starts_a_project(site: Site, tmp_path: Path) -> None:
    site.add_project("mine/one", url=str(tmp_path))
    site.add_project("mine/two", url="https://forge.example/mine/two.git")
    answer = site.hook("mine/one", d.PUSHES["gitea"](path="mine/two"))
    assert answer.status == 403
    assert "mine/two" in json.loads(answer.data)["error"]
    assert site.hook("mine/two", d.PUSHES["gitlab"](path="mine/one")).status == 403
    assert site.triggers("mine/one") == site.triggers("mine/two") == []
    assert site.hook("mine/one", d.PUSHES["github"](path="upstream/name")).status == 202
    for path in ("/hooks/../hooks/mine/one", "/hooks/mine/../../etc", "/hooks/%2e%2e/x", "/hooks/mine", "/hooks/a/-b"):
        connection = http.client.HTTPConnection(*site.place, timeout=DEADLINE)
        headers, body = d.PUSHES["plain"](ref="refs/heads/other", path="mine/one")
        connection.request("POST", path, body, headers)
        assert connection.getresponse().status in (202, 403, 404), path
        connection.close()
    assert {trigger.ref for trigger in site.triggers("mine/one")} <= {"main", "other"}


def test_events_without_commits_and_paused_projects_are_answered_without_a_run(site: Site) -> None:
    site.add_project("team/quiet")
    for signed in (d.github({"zen": "Design for failure."}, "ping"), d.PUSHES["gitlab"](after=d.NOTHING)):
        answer = site.hook("team/quiet", signed)
        assert answer.status == 200
        assert json.loads(answer.data)["ignored"]
    malformed = site.hook("team/quiet", d.github({"ref": "refs/heads/a..b", "before": d.BEFORE, "after": d.SHA}))
    assert malformed.status == 400
    assert "repository" in json.loads(malformed.data)["error"]
    site.change_project("team/quiet", paused=True)
    answer = site.hook("team/quiet", d.PUSHES["bitbucket"]())
    assert answer.status == 200
    assert json.loads(answer.data)["triggers"] == [{"outcome": "refused", "reason": "project team/quiet is paused"}]
    assert site.triggers("team/quiet") == []


def test_a_changed_secret_and_a_new_project_count_at_once(site: Site) -> None:
    assert site.hook("team/late", d.PUSHES["plain"]()).status == 403
    site.add_project("team/late")
    assert site.hook("team/late", d.PUSHES["plain"]()).status == 202
    site.change_project("team/late", hook_secret="a newer secret")
    assert site.hook("team/late", d.PUSHES["plain"](secret="a newer secret", ref="refs/heads/next")).status == 202
    spec = ProjectSpec(name="team/late", url="https://forge.example/team/late.git")
    site.change_project("team/late", project=spec)


def test_one_delivery_may_add_several_triggers_and_a_fork_is_marked(site: Site) -> None:
    site.add_project("team/many")
    several = d.bitbucket(d.bitbucket_push(("branch", "one"), ("branch", "two")))
    assert outcomes(site.hook("team/many", several).data) == ["accepted", "accepted"]
    assert outcomes(site.hook("team/many", several).data) == ["already", "already"]
    assert site.hook("team/many", d.github(d.gitea_request(fork=True), "pull_request")).status == 202
    fork, *pushes = site.triggers("team/many")
    assert (fork.source, fork.from_fork, fork.merge_request) == ("merge_request_event", True, "7")
    assert {push.ref for push in pushes} == {"one", "two"}


def test_what_was_answered_survives_the_death_of_both_processes(tmp_path: Path) -> None:
    tmp_path.joinpath("site").mkdir()
    with Site(tmp_path / "site") as site:
        site.add_project("team/app")
        first, second = d.PUSHES["github"](), d.PUSHES["github"](ref="refs/heads/second")
        assert site.hook("team/app", first).status == 202
        site.coordinator.kill()
        away = site.hook("team/app", second)
        assert (away.status, away.headers["Retry-After"]) == (503, "5")
        site.web.kill()
        site.system.start_coordinator()
        site.start_web()
        answers = [site.hook("team/app", signed) for signed in (first, second, second)]
        assert [outcomes(answer.data) for answer in answers] == [["already"], ["accepted"], ["already"]]
        assert {trigger.ref for trigger in site.triggers("team/app")} == {"main", "second"}
        assert site.web.terminate() == 0
        eventually(lambda: site.web.popen.poll() is not None)


def test_project_hook_says_what_to_enter_at_each_forge(site: Site) -> None:
    site.add_project("team/new")
    done = site.system.command("project", "hook", "team/new")
    assert (done.status, done.err) == (0, "")
    url = f"{site.url}/hooks/team/new"
    for word in (url, "Forgejo", "GitHub", "GitLab", "Bitbucket", "X-Longshore-Signature", "--new-secret"):
        assert word in done.out
    made = site.system.command("project", "hook", "team/new", "--new-secret", "--json").json
    assert made["url"] == url
    assert site.hook("team/new", d.PUSHES["github"]()).status == 403
    assert site.hook("team/new", d.PUSHES["github"](secret=made["secret"])).status == 202
    script = "\n".join(made["forges"]["plain"]).replace("COMMIT", d.SHA)
    ran = subprocess.run(["sh", "-euc", script], env=os.environ | {"SECRET": made["secret"]}, capture_output=True)
    assert outcomes(ran.stdout) == ["accepted"], ran
