"""The `CI_*` variables of a trigger's run, as far as they differ from those of a run from a checkout. Pure."""

from __future__ import annotations

import re

from pipeline.git_repository import NO_SHA
from pipeline.predefined_variables import MAX_DESCRIPTION, MAX_TITLE, MERGE_REQUEST, lasting_number
from protocol.projects import MergeRequest, ProjectSpec, TriggerSpec

_AUTHOR = re.compile(r"\s*(?P<name>.*?)\s*<(?P<email>[^<>]*)>\s*\Z")
_NUMBER = re.compile(r"[0-9]{1,18}")
SKIPPED_SOURCES = ("push", MERGE_REQUEST)
"""Pipelines that a commit's message can skip; the others were asked for by somebody."""
_SKIP = re.compile(r"\[(?:ci[ _-]skip|skip[ _-]ci)\]", re.IGNORECASE)


def is_skipped(trigger: TriggerSpec, message: str) -> bool:
    """Whether the commit's message says `[ci skip]`."""
    return trigger.source in SKIPPED_SOURCES and bool(_SKIP.search(message))


def given(trigger: TriggerSpec) -> dict[str, str]:
    """What the kind of pipeline follows from: branch, tag or merge request. `trigger.ref` is known by now."""
    if trigger.source == MERGE_REQUEST:
        target = trigger.merge_request.target_branch if trigger.merge_request else ""
        return {
            "CI_PIPELINE_SOURCE": trigger.source,
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": trigger.ref,
            "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "",
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": target,
        }
    return {"CI_PIPELINE_SOURCE": trigger.source, "CI_COMMIT_TAG" if trigger.tag else "CI_COMMIT_BRANCH": trigger.ref}


def of_trigger(trigger: TriggerSpec, project: ProjectSpec, default_branch: str) -> dict[str, str]:
    """The variables that replace those of a checkout."""
    is_push = trigger.source == "push" and not trigger.tag
    protected = not trigger.from_fork and project.protects(trigger.ref, default_branch, tag=trigger.tag)
    found = {
        "CI_COMMIT_BEFORE_SHA": (trigger.before_sha or NO_SHA) if is_push else NO_SHA,
        "CI_COMMIT_REF_PROTECTED": _flag(protected),
        **_of_user(trigger),
    }
    if project.url.startswith(("http://", "https://")):
        found["CI_PROJECT_URL"] = project.url.removesuffix("/").removesuffix(".git")
    if trigger.source == MERGE_REQUEST and trigger.merge_request is not None:
        found |= _of_merge_request(trigger, trigger.merge_request, project, default_branch)
    return found


def is_protected(trigger: TriggerSpec, project: ProjectSpec, default_branch: str) -> bool:
    """Whether the run may have secrets that are restricted to branches: those of a merge request never."""
    if trigger.from_fork or trigger.source == MERGE_REQUEST:
        return False
    return project.protects(trigger.ref, default_branch, tag=trigger.tag)


def ref_of_run(trigger: TriggerSpec) -> str:
    """The ref that the run counts for: GitLab's own for a merge request, which is no branch."""
    if trigger.source == MERGE_REQUEST and trigger.merge_request is not None:
        return f"refs/merge-requests/{trigger.merge_request.iid}/head"
    return trigger.ref


def _of_user(trigger: TriggerSpec) -> dict[str, str]:
    match = _AUTHOR.match(trigger.author)
    name, email = (match["name"], match["email"]) if match else (trigger.author, "")
    login = trigger.user or email.partition("@")[0]
    return {
        "CI_COMMIT_USER_LOGIN": trigger.user,
        "GITLAB_USER_EMAIL": email,
        "GITLAB_USER_ID": lasting_number(email or login),
        "GITLAB_USER_LOGIN": login,
        "GITLAB_USER_NAME": name or login,
    }


def _of_merge_request(
    trigger: TriggerSpec, request: MergeRequest, project: ProjectSpec, default_branch: str
) -> dict[str, str]:
    url = project.url.removesuffix(".git") if project.url.startswith(("http://", "https://")) else ""
    found = {
        "CI_MERGE_REQUEST_DESCRIPTION": request.description[:MAX_DESCRIPTION],
        "CI_MERGE_REQUEST_DESCRIPTION_IS_TRUNCATED": _flag(len(request.description) > MAX_DESCRIPTION),
        "CI_MERGE_REQUEST_DRAFT": _flag(request.draft),
        "CI_MERGE_REQUEST_EVENT_TYPE": "detached",
        "CI_MERGE_REQUEST_ID": request.id if _NUMBER.fullmatch(request.id) else request.iid,
        "CI_MERGE_REQUEST_IID": request.iid,
        "CI_MERGE_REQUEST_PROJECT_PATH": project.name,
        "CI_MERGE_REQUEST_REF_PATH": f"refs/merge-requests/{request.iid}/head",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": request.source_branch,
        "CI_MERGE_REQUEST_SOURCE_BRANCH_PROTECTED": _flag(
            not trigger.from_fork and project.protects(request.source_branch, default_branch)
        ),
        "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": request.source_project or project.name,
        "CI_MERGE_REQUEST_SOURCE_PROJECT_URL": request.source_project_url.removesuffix(".git") or url,
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": request.target_branch,
        "CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED": _flag(project.protects(request.target_branch, default_branch)),
        "CI_MERGE_REQUEST_TITLE": request.title[:MAX_TITLE],
        "CI_OPEN_MERGE_REQUESTS": f"{project.name}!{request.iid}",
    }
    if url:
        found["CI_MERGE_REQUEST_PROJECT_URL"] = url
    lists = {"LABELS": ",".join(request.labels), "ASSIGNEES": _listed(request.assignees)}
    return found | {
        f"CI_MERGE_REQUEST_{key}": value for key, value in (*lists.items(), ("MILESTONE", request.milestone)) if value
    }


def _listed(names: list[str]) -> str:
    """Names as GitLab lists assignees: `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _flag(value: bool) -> str:
    return str(value).lower()
