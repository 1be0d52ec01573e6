"""From a trigger to its run, step by step: mirror, commit, facts, plan, workspace, submission.

Each step may be repeated: a launcher may be killed at any moment, and the next one begins again. The submission names
the trigger, and the coordinator ends the trigger with the run, so there is at most one.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from uuid import uuid4

import msgspec

from coordinator.children.compiler import ChildCompiler
from pipeline.predefined_variables import MAX_TITLE, MERGE_REQUEST
from protocol import messages as m
from protocol.client import Client
from protocol.compilation import Answer, ChildRequest, Compiled, MirroredCommit
from protocol.errors import LongshoreError, UsageError
from protocol.keys import PRIVATE_DIRECTORY
from protocol.places import pushes_directory
from protocol.plan import TriggerPlan
from protocol.projects import PendingTrigger, ProjectSpec, TriggerSpec, trigger_token
from team.facts import changes, facts
from team.git import Access, Git
from team.mirrors import Mirror
from team.variables import is_protected, is_skipped, ref_of_run
from team.workspace import TAGS, MirroredWorkspace

log = logging.getLogger(__name__)

PIPELINE_FILE = ".gitlab-ci.yml"
LONGEST_REASON = 4000
"""Characters of what a trigger's end says."""
REMOTE = b"refs/remotes/origin/"


class Refused(LongshoreError):
    """The trigger starts no run; trying again would not change that."""


class Skipped(LongshoreError):
    """The trigger starts no run, and nothing is wrong with that."""


class Launch:
    """Starts the runs of one project. Used by one thread at a time; `compilers` are for trusted commits, and forks'."""

    def __init__(self, git: Git, home: Path, project: str, compilers: tuple[ChildCompiler, ChildCompiler]) -> None:
        self._git = git
        self._home = home
        self._compilers = compilers
        self.mirror = Mirror(git, home / "mirrors", project)

    def launch(self, pending: PendingTrigger, client: Client) -> None:
        """Starts the run of a trigger, or ends it without one.

        Raises GitFailed or CoordinatorUnreachable for what may succeed later, Ended.
        """
        trigger, project = pending.trigger, pending.project.project
        fields, ref = {"trigger": pending.id}, trigger.ref or "the default branch"
        try:
            run = self._run(pending, client)
        except (Refused, Skipped) as error:
            state = "skipped" if isinstance(error, Skipped) else "refused"
            log.info("%s: %s of %s %s: %s", project.name, trigger.source, ref, state, error, extra=fields)
            self.settle(client, pending.id, state, str(error))
        else:
            log.info("%s: %s of %s: run %d", project.name, trigger.source, ref, run, extra=fields)

    @staticmethod
    def settle(client: Client, trigger: int, state: str, reason: str) -> None:
        """Ends a trigger without a run."""
        client.request(m.SettleTrigger, m.Done, trigger=trigger, state=state, reason=reason[:LONGEST_REASON])

    def _run(self, pending: PendingTrigger, client: Client) -> int:
        trigger, project = pending.trigger, pending.project.project
        if trigger.sha and not trigger.sha.strip("0"):
            raise Skipped(f"{trigger.ref} was deleted")
        access = access_of(client, project)
        trigger, commit = self._resolve(pending, access)
        message = self.mirror.message(commit)
        if is_skipped(trigger, message):
            raise Skipped("the commit's message says [ci skip]")
        trigger = msgspec.structs.replace(trigger, author=trigger.author or self.mirror.author(commit))
        scratch = self._home / "scratch" / uuid4().hex
        scratch.mkdir(parents=True, mode=PRIVATE_DIRECTORY)
        try:
            return self._submit(pending.id, trigger, project, commit, message, scratch, client)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _resolve(self, pending: PendingTrigger, access: Access) -> tuple[TriggerSpec, str]:
        """The trigger with its branch or tag, and its commit, which is in the mirror now. Raises Refused."""
        trigger, project, mirror = pending.trigger, pending.project.project, self.mirror
        if mirror.updated_at < pending.created_at:
            mirror.update(access)
        if trigger.pushed:
            pushes = Access(str(pushes_directory() / f"{project.name}.git"))
            mirror.fetch_commit(pushes, f"refs/pushes/{trigger.sha}", f"pushes/{trigger.sha}")
        commit = mirror.commit(trigger.sha)
        if trigger.source == MERGE_REQUEST and trigger.merge_request is not None and not commit:
            mirror.fetch_merge_request(access, trigger.merge_request)
            commit = mirror.commit(trigger.sha) if trigger.sha else mirror.at_merge_request(trigger.merge_request)
        ref = trigger.ref or project.default_branch or mirror.refs.default_branch
        branches, tags = mirror.refs.branches, mirror.refs.tags
        tag = trigger.tag or (trigger.source not in ("push", MERGE_REQUEST) and ref not in branches and ref in tags)
        if not trigger.sha and not commit:
            commit = mirror.peeled(ref) if tag else branches.get(ref, "")
            if not commit:
                raise Refused(f"the repository has no branch or tag {ref!r}")
        if not commit:
            raise Refused(f"the repository has no commit {trigger.sha[:64]}: was it replaced by a forced push?")
        return msgspec.structs.replace(trigger, ref=ref, tag=tag, sha=commit), commit

    def _submit(
        self,
        id: int,
        trigger: TriggerSpec,
        project: ProjectSpec,
        commit: str,
        message: str,
        scratch: Path,
        client: Client,
    ) -> int:
        """Compiles the commit's pipeline, uploads its workspace and starts its run. Raises Refused, Skipped."""
        mirror = self.mirror
        known = facts(mirror, scratch, commit, trigger, project, PIPELINE_FILE)
        changed = changes(mirror, commit, trigger, {variable.key: variable.value for variable in known})
        refs = {REMOTE + _raw(name): id for name, id in mirror.refs.branches.items()}
        refs |= {TAGS + _raw(name): mirror.peeled(name) for name in mirror.refs.tags}
        request = ChildRequest(
            run=0,
            job="",
            trigger=TriggerPlan(),
            file=PIPELINE_FILE,
            predefined=known,
            variables=trigger.variables,
            commit=MirroredCommit(repository=str(mirror.path), commit=commit, refs=refs, changes=changed),
        )
        compiled = _compiled(self._compilers[trigger.from_fork].compile(request).result())
        for warning in compiled.warnings:
            log.info("%s: %s", project.name, warning, extra={"trigger": id})
        default_branch = project.default_branch or mirror.refs.default_branch
        source = m.Source(
            file=PIPELINE_FILE,
            ref=ref_of_run(trigger),
            sha=commit,
            title=message.partition("\n")[0][:MAX_TITLE],
            user=trigger.user or trigger.author.partition(" <")[0],
            trigger=id,
            event=trigger.source,
            fork=trigger.from_fork,
            protected=is_protected(trigger, project, default_branch),
        )
        workspace = MirroredWorkspace(mirror, self._home / "snapshots", commit, project.url, changed)
        try:
            uploaded = workspace.upload(compiled.plan, client)
            run = client.submit_run(compiled.plan, uploaded, source=source, token=trigger_token(id))
            workspace.submitted(uploaded)
        except UsageError as error:  # the coordinator refuses the plan, or its project's quota is exceeded
            raise Refused(str(error)) from error
        finally:
            workspace.close()
        return run


def access_of(client: Client, project: ProjectSpec) -> Access:
    """How git gets into the project's repository. Raises Refused if its secret is gone."""
    url = project.url or str(pushes_directory() / f"{project.name}.git")
    if not project.credentials:
        return Access(url)
    return Access(url, reveal(client, project.name, project.credentials))


def reveal(client: Client, project: str, name: str) -> str:
    """The value of a project's secret. Raises Refused if there is none."""
    try:
        return client.request(m.RevealSecret, m.SecretValue, project=project, name=name).value
    except UsageError as error:
        raise Refused(str(error)) from error


def _compiled(answer: Answer) -> Compiled:
    if isinstance(answer, Compiled):
        return answer
    problem = "\n".join(answer.problems)
    raise Skipped(problem) if answer.nothing_to_run else Refused(problem)


def _raw(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
