"""Projects and triggers at a real coordinator: who may do what, once only, and durable."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator import projects
from coordinator.security.roles import Identity
from coordinator.security.vault import Vault
from coordinator.store.store import Store
from protocol import admin
from protocol import messages as m
from protocol.client import Client
from protocol.errors import CoordinatorUnreachable, LongshoreError, UsageError
from protocol.keys import credentials_beside
from protocol.plan import CacheSpec, EnvironmentSpec, ExternalNeed, JobPlan, Release, TriggerPlan, Variable
from protocol.projects import (
    Forge,
    ProjectSpec,
    TriggerSpec,
    check_project_name,
    check_project_url,
    trigger_token,
)
from tests.security.joining import join
from tests.support.coordinator_process import Running
from tests.support.crashing_coordinator import free_address, start
from tests.support.eventually import DEADLINE, eventually
from tests.support.plans import job, plan

APP = ProjectSpec(name="group/app", url="https://git.example.org/group/app.git", default_branch="main")


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("LONGSHORE_STATE", str(tmp_path / "state"))
    with Running(tmp_path / "state") as made:
        yield made


def beside(running: Running, role: str) -> Client:
    state = running.coordinator.settings.state
    return Client(running.address, credentials=credentials_beside(state, role, running.address))


def add(client: Client, project: ProjectSpec = APP, **fields: Any) -> None:
    client.request(m.AddProject, m.Done, project=project, **fields)


def trigger(client: Client, key: str = "d1", **fields: Any) -> m.TriggerAdded:
    spec = TriggerSpec(project=APP.name, key=key, **{"source": "push", "ref": "main", **fields})
    return client.request(m.AddTrigger, m.TriggerAdded, trigger=spec)


def pending(client: Client) -> list[int]:
    return [each.id for each in client.request(m.TakeTriggers, m.PendingTriggers).triggers]


def submit(client: Client, id: int, **source: Any) -> int:
    made = m.Source(trigger=id, ref="main", sha="1" * 40, **source)
    return client.submit_run(plan(job("a")), source=made, token=trigger_token(id))


@pytest.mark.parametrize("name", [
    "app", "group/", "/app", "group/../app", "group/-app", "group/.app", "group/app.git", "group/app.", "group/a b",
    "group//app", "group/app\n", "g/" * 21 + "a", "group/" + "a" * 250, "group/app.ATOM",
])  # fmt: skip
def test_a_project_has_a_name_that_gitlab_would_take(name: str) -> None:
    with pytest.raises(UsageError, match="GROUP/NAME"):
        check_project_name(name)
    check_project_name("group/sub.group/_app-1")


@pytest.mark.parametrize("url", [
    "--upload-pack=x", "ext::sh -c id", "https://", "https://u:p@host/x", "https://u@host/x", "host", "ftp://host/x",
    "ssh://u:p@host/x", "fd::17", "https://host/a b", "../up", "https://[bad/x",
])  # fmt: skip
def test_an_address_is_one_that_git_fetches_from_without_a_password_in_it(url: str) -> None:
    with pytest.raises(UsageError, match="address"):
        check_project_url(url)
    for good in ("https://host/x", "ssh://git@host:22/x.git", "git@host:group/x", "/srv/git/x.git", "file:///srv/x"):
        check_project_url(good)


def test_a_project_is_added_changed_paused_and_removed_with_a_line_in_the_audit_each(running: Running) -> None:
    with running.client() as client:
        add(client, hook_secret="s3cret")
        with pytest.raises(LongshoreError, match="already"):
            add(client, msgspec.structs.replace(APP, name="Group/App"))
        changed = msgspec.structs.replace(APP, poll_seconds=60.0, forge=Forge(kind="gitea", token="TOKEN"))
        client.request(m.ChangeProject, m.Done, name=APP.name, project=changed)
        client.request(m.ChangeProject, m.Done, name=APP.name, paused=True)
        (view,) = client.request(m.ListProjects, m.ProjectList).projects
        assert (view.project, view.paused, view.has_hook_secret) == (changed, True, True)
        for bad, why in (
            ({"poll_seconds": 1.0}, "every 5 s"),
            ({"credentials": "a b"}, "secret set"),
            ({"name": "other/name"}, "keeps its name"),
            ({"url": "ext::x"}, "address"),
        ):
            with pytest.raises(LongshoreError, match=why):
                client.request(
                    m.ChangeProject,
                    m.Done,
                    name=APP.name,
                    project=msgspec.structs.replace(APP, **bad),
                )
        client.request(m.RemoveProject, m.Done, name=APP.name)
        with pytest.raises(LongshoreError, match="no project 'group/app'"):
            client.request(m.ShowProject, m.ProjectDetail, name=APP.name)
        lines = client.request(admin.GetAudit, admin.AuditList).lines
    actions = [line.action for line in lines if line.subject == APP.name]
    assert actions == ["remove project", "pause project", "change project", "add project"]
    assert "s3cret" not in repr(lines)
    state = running.coordinator.settings.state
    assert all(b"s3cret" not in path.read_bytes() for path in state.rglob("*") if path.is_file())


def test_a_trigger_is_taken_once_and_its_run_is_the_only_one(running: Running) -> None:
    variables = [Variable(key="A", value="secret of the hook")]
    with running.client() as owner, beside(running, "web") as web, beside(running, "launcher") as launcher:
        add(owner)
        first = trigger(web, variables=variables)
        assert (first.outcome, trigger(web, variables=variables).outcome) == ("accepted", "already")
        second = trigger(web, "d2")
        assert pending(launcher) == [first.trigger, second.trigger]
        others = launcher.request(m.TakeTriggers, m.PendingTriggers, without=[APP.name, "group/other"])
        assert others.triggers == []
        with pytest.raises(LongshoreError, match="own token"):
            launcher.submit_run(plan(job("a")), source=m.Source(trigger=first.trigger), token="mine")
        with pytest.raises(LongshoreError, match="a trigger's"):
            owner.submit_run(plan(job("a")), token=trigger_token(first.trigger))
        run = submit(launcher, first.trigger)
        assert submit(launcher, first.trigger) == run
        repeated = trigger(web)
        assert (repeated.outcome, repeated.state, repeated.run) == ("already", "launched", run)
        launcher.request(m.SettleTrigger, m.Done, trigger=second.trigger, state="skipped", reason="[ci skip]")
        assert (
            launcher.request(m.SettleTrigger, m.Done, trigger=first.trigger, state="refused", reason="late").count == 0
        )
        with pytest.raises(LongshoreError, match="was skipped"):
            submit(launcher, second.trigger)
        assert pending(launcher) == []
        assert web.request(m.GetTrigger, m.TriggerDetail, trigger=first.trigger).trigger.run == run
        listed = web.request(m.ListTriggers, m.TriggerList).triggers
        assert [(each.state, each.run, each.reason) for each in listed] == [
            ("skipped", None, "[ci skip]"), ("launched", run, ""),
        ]  # fmt: skip
        assert "secret of the hook" not in repr(listed)
        (summary,) = web.list_runs()
        assert (summary.trigger, summary.event, summary.fork) == (first.trigger, "push", False)


def test_triggers_and_projects_outlive_the_coordinator(running: Running, tmp_path: Path) -> None:
    with running.client() as owner:
        add(owner, hook_secret="of the hooks")
        kept = trigger(owner, "d1", variables=[Variable(key="A", value="1")])
        gone = trigger(owner, "d2", from_fork=True)
    running.close()
    with (
        Running(tmp_path / "state") as again,
        again.client() as owner,
        beside(again, "launcher") as launcher,
        beside(again, "web") as web,
    ):
        taken = launcher.request(m.TakeTriggers, m.PendingTriggers).triggers
        assert [(each.id, each.trigger.variables) for each in taken] == [
            (kept.trigger, [Variable(key="A", value="1")]), (gone.trigger, []),
        ]  # fmt: skip
        assert trigger(web, "d1").outcome == "already"
        secret = web.request(m.GetHookSecret, m.SecretValue, project=APP.name)
        assert (secret.value, repr(secret)) == ("of the hooks", f"SecretValue(id={secret.id})")
        run = submit(launcher, gone.trigger, protected=True)
        assert owner.get_run(run).fork  # whatever the launcher says of it
        assert trigger(owner, "d3").trigger > gone.trigger
        assert owner.request(m.RemoveProject, m.Done, name=APP.name).count == 2
        reasons = {each.reason for each in web.request(m.ListTriggers, m.TriggerList).triggers}
        assert reasons == {"the project was removed", ""}


@pytest.mark.parametrize("point", ["before-transaction", "inside-transaction", "after-commit", "before-events"])
def test_run_and_end_of_a_trigger_are_one_wherever_the_coordinator_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setenv("LONGSHORE_STATE", str(tmp_path / "state"))
    address = free_address()
    process = start(tmp_path / "state", address, point, "1")
    with Client(address, timeout=DEADLINE) as client:
        add(client)
        id = trigger(client).trigger
        client.timeout = 1.0
        with contextlib.suppress(CoordinatorUnreachable):  # it may have answered before it died
            submit(client, id)
    assert process.wait(DEADLINE) == -signal.SIGKILL
    with Running(tmp_path / "state", bind=address) as again, again.client(timeout=DEADLINE) as client:
        runs = client.list_runs()
        assert bool(pending(client)) == (not runs) == point.endswith("transaction")
        run = submit(client, id)
        assert [each.id for each in client.list_runs()] == [run]
        assert trigger(client).run == run
        assert pending(client) == []


def test_ended_triggers_are_forgotten_after_a_while_but_an_id_is_never_used_again(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running.client() as owner, beside(running, "launcher") as launcher:
        add(owner)
        ended = [trigger(owner, f"d{number}").trigger for number in range(3)]
        for each in ended:
            launcher.request(m.SettleTrigger, m.Done, trigger=each, state="skipped", reason="none")
    running.close()
    monkeypatch.setattr(projects, "KEPT_SECONDS", -1.0)
    with Running(tmp_path / "state") as again, again.client() as owner:

        def left() -> list[int]:
            return [each.id for each in owner.request(m.ListTriggers, m.TriggerList).triggers]

        eventually(lambda: left() == [ended[-1]])
        assert trigger(owner, "d0").trigger == ended[-1] + 1


def test_a_fork_s_run_saves_no_cache_changes_no_environment_and_uses_no_other_project(running: Running) -> None:
    caches = [CacheSpec(key=policy, policy=policy) for policy in ("pull-push", "pull", "push")]
    environment, release = EnvironmentSpec(name="production"), Release(tag_name="v1", description="x")
    spec = job("deploy", caches=caches, environment=environment, release=release)
    with running.client() as owner, beside(running, "launcher") as launcher:
        add(owner)

        def run(key: str, of: JobPlan) -> int:
            id = trigger(owner, key, from_fork=True).trigger
            return launcher.submit_run(plan(of), source=m.Source(trigger=id, ref="main"), token=trigger_token(id))

        deploys = run("1", spec)
        made = owner.get_job(deploys, "deploy")
        assert [(cache.key, cache.policy) for cache in made.job.caches] == [("pull-push", "pull"), ("pull", "pull")]
        assert (made.job.environment, made.job.release) == (None, None)
        assert any("fork" in line.text for line in made.story)
        for number, of in enumerate((
            job("a", external_needs=[ExternalNeed(job="b", project="other/app", ref="main")]),
            job("a", script=[], trigger=TriggerPlan(project="other/app")),
            job("a", script=[], mirrors="other/app"),
        )):  # fmt: skip
            with pytest.raises(UsageError, match="'a' uses project other/app"):
                run(f"other{number}", of)
        assert len(owner.list_runs()) == 1


def test_a_paused_project_refuses_and_an_unknown_one_is_not_found(running: Running) -> None:
    with running.client() as client:
        with pytest.raises(LongshoreError, match="no project"):
            trigger(client)
        add(client)
        client.request(m.ChangeProject, m.Done, name=APP.name, paused=True)
        assert trigger(client).reason == "project group/app is paused"
        client.request(m.ChangeProject, m.Done, name=APP.name, paused=False)
        assert trigger(client).outcome == "accepted"
        with pytest.raises(LongshoreError, match="200 characters"):
            trigger(client, "k" * 201)


def test_each_role_does_its_own_part_of_a_project_and_nothing_else(running: Running) -> None:
    local = msgspec.structs.replace(APP, url="/srv/git/app.git")
    with running.client() as owner:
        add(owner, local)
        owner.request(admin.SetSecret, m.Done, name="TOKEN", value="token for git")
    asks: dict[str, Callable[[Client], object]] = {
        "add": lambda client: add(client, msgspec.structs.replace(APP, name="group/new")),
        "local": lambda client: add(client, msgspec.structs.replace(local, name="group/local")),
        "trigger": trigger,
        "take": pending,
        "hook": lambda client: client.request(m.GetHookSecret, m.SecretValue, project=APP.name),
        "reveal": lambda client: client.request(m.RevealSecret, m.SecretValue, project=APP.name, name="TOKEN"),
        "list": lambda client: client.request(m.ListTriggers, m.TriggerList),
        "run": lambda client: client.submit_run(plan(job("a"))),
    }
    expected = {
        "viewer": {"list"},
        "operator": {"add", "trigger", "list", "run"},
        "web": {"trigger", "hook", "list"},
        "launcher": {"trigger", "take", "reveal", "list", "run"},
    }
    for role, allowed in expected.items():
        keys = join(running, role, role) if role in ("viewer", "operator") else None
        client = Client(running.address, credentials=keys) if keys else beside(running, role)
        may = set()
        with client:
            for name, ask in asks.items():
                refused = _refusal(ask, client)
                if not refused:
                    may.add(name)
                elif "is not for a" not in refused:
                    assert (role, name) == ("operator", "local")
                    assert "only the coordinator's owner" in refused
        assert may == allowed, role


def _refusal(ask: Callable[[Client], object], client: Client) -> str:
    try:
        ask(client)
    except LongshoreError as error:
        return str(error)
    return ""


def test_secrets_reach_no_fork_and_those_of_branches_only_protected_ones(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'longshore.db'}")
    vault = Vault(tmp_path, store)
    by = Identity("key", "owner", "owner")
    vault.put(admin.SetSecret(id=1, name="ANY", value="for any branch"), by)
    vault.put(admin.SetSecret(id=2, name="MAIN", value="for main only", branches=["ma*"]), by)

    def having(**source: Any) -> set[str]:
        return {variable.key for variable in vault.of("group/app", m.Source(**source), [])}

    assert having(ref="main") == having(ref="main", protected=True) == {"ANY", "MAIN"}
    assert having(ref="main", protected=False) == having(ref="dev", protected=True) == {"ANY"}
    assert having(ref="main", protected=True, fork=True) == set()
    assert vault.reveal("group/app", "MAIN") == "for main only"
    vault.put(admin.SetSecret(id=3, name="SAFE", value="for safe workers", labels=["safe"]), by)
    with pytest.raises(LongshoreError, match="has labels"):
        vault.reveal("group/app", "SAFE")
    with pytest.raises(LongshoreError, match="longshore secret set NONE"):
        vault.reveal("group/app", "NONE")
    store.close()


def test_the_default_branch_is_protected_unless_patterns_say_otherwise() -> None:
    assert APP.protects("main", "trunk")
    assert not APP.protects("trunk", "trunk")
    assert not APP.protects("main", "main", tag=True)
    free = msgspec.structs.replace(APP, default_branch="")
    assert free.protects("trunk", "trunk")
    assert not free.protects("", "")
    named = msgspec.structs.replace(APP, protected_branches=["release/*"], protected_tags=["v*"])
    assert named.protects("release/1", "main")
    assert named.protects("v1", "main", tag=True)
    assert not named.protects("main", "main")
