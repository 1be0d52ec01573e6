"""The `CI_*` variables known before a run: those of the project, its commit, and one job. Pure.

The coordinator and the worker add those known only to a run (`CI_PIPELINE_ID`, `CI_JOB_ID`, `CI_RUNNER_*`, ...).
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping

from pipeline.git_repository import DETACHED, NO_HOST, NO_SHA, Repository
from protocol.job_variables import BUILDS_DIR, slug
from protocol.plan import EnvironmentSpec

MERGE_REQUEST = "merge_request_event"
"""`CI_PIPELINE_SOURCE` of a merge request pipeline."""
EXTERNAL_PULL_REQUEST = "external_pull_request_event"
OF_A_PUSH = ("push", "parent_pipeline")
"""`CI_PIPELINE_SOURCE` of pipelines caused by a push; a child pipeline inherits its parent's push."""
TRIGGERED = "trigger"
"""`CI_PIPELINE_SOURCE` of a pipeline started with a trigger token."""
MAX_TEXT_BYTES = 100_000
"""Limit of commit and tag texts, as in GitLab: longer strings can't be passed to a program (see `MAX_STRING_BYTES`)."""
MAX_DESCRIPTION = 2_700
"""Maximum length of a merge request's description, as in GitLab."""
MAX_TITLE = 255
"""Maximum length of a merge request's title and of a pipeline's name, as in GitLab."""
JOB_ONLY = frozenset(
    {"CI_BUILDS_DIR", "CI_PAGES_HOSTNAME", "CI_PAGES_URL", "CI_PROJECT_DIR", "CI_REPOSITORY_URL", "CI_SERVER"}
)
"""Variables of a pipeline that GitLab gives to jobs only: to `rules` and `workflow` they are undefined."""
GITLAB_REGISTRY = "registry.gitlab.com"
"""Registry of the images in GitLab's own templates."""
_DRAFT = re.compile(r"\s*(?:\[draft\]|\(draft\)|draft:)", re.IGNORECASE)
"""Title prefix of a draft merge request."""
_GROUPED = re.compile(r"(?:[\s:]+(?:\[.*\]|\d+[\s:/\\]+\d+)){1,3}\s*\Z")
"""Suffix that distinguishes the jobs of a group: `1/3`, `[ruby, ubuntu]`."""
GITLAB_VERSION = "18.10.0"
"""The GitLab whose reference this language follows, for files that choose by `CI_SERVER_VERSION`, and whose templates
`include:template` means.
"""
SSH_PORT = "22"
DEPENDENCY_PROXY = "/dependency_proxy/containers"
MERGED_RESULTS = ("merged_result", "merge_train")
"""`CI_MERGE_REQUEST_EVENT_TYPE` of pipelines whose commit is the result of the merge."""
ENVIRONMENT_SLUG_LENGTH = 24
SHORT_SHA = 8


def project_dir(repository: Repository) -> str:
    """The project's directory in a job's container."""
    return f"{BUILDS_DIR}/{repository.remote.path}"


def of_pipeline(repository: Repository, config_path: str, given: Mapping[str, str]) -> dict[str, str]:
    """Variables shared by all jobs of a pipeline.

    If the user's own variables (`given`) make it a tag or merge request pipeline, the others follow.
    """
    remote, commit = repository.remote, repository.commit
    namespace, _, name = remote.path.rpartition("/")
    standard = remote.port == ("80" if remote.scheme == "http" else "443")
    fqdn = remote.host if standard else f"{remote.host}:{remote.port}"
    server = f"{remote.scheme}://{fqdn}"
    truncated = len(commit.message.encode()) > MAX_TEXT_BYTES
    user, address = repository.user
    registry = f"registry.{remote.host}"
    group, *inner = remote.path.split("/")
    major, minor, patch = GITLAB_VERSION.split(".")
    pages = "gitlab.io" if remote.host == "gitlab.com" else f"pages.{remote.host}"
    variables = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_API_V4_URL": f"{server}/api/v4",
        "CI_API_GRAPHQL_URL": f"{server}/api/graphql",
        "CI_BUILDS_DIR": BUILDS_DIR,
        "CI_COMMIT_AUTHOR": cut(commit.author),
        "CI_COMMIT_DESCRIPTION": cut(commit.description),
        "CI_COMMIT_MESSAGE": cut(commit.message),
        "CI_COMMIT_MESSAGE_IS_TRUNCATED": str(truncated).lower(),
        "CI_COMMIT_REF_PROTECTED": "false",
        "CI_COMMIT_SHA": commit.sha,
        "CI_COMMIT_SHORT_SHA": commit.sha[:SHORT_SHA],
        "CI_COMMIT_TIMESTAMP": commit.timestamp,
        "CI_COMMIT_TITLE": cut(commit.title),
        "CI_COMMIT_USER_LOGIN": "",
        "CI_CONFIG_PATH": config_path,
        "CI_DEFAULT_BRANCH": repository.default_branch,
        "CI_DEFAULT_BRANCH_SLUG": slug(repository.default_branch),
        "CI_PAGES_DOMAIN": pages,
        "CI_PAGES_HOSTNAME": f"{group.lower()}.{pages}",
        "CI_PAGES_URL": f"{remote.scheme}://{group.lower()}.{pages}/{'/'.join(inner)}",
        "CI_PIPELINE_SOURCE": "push",
        "CI_PROJECT_CLASSIFICATION_LABEL": "",
        "CI_PROJECT_DESCRIPTION": "",
        "CI_PROJECT_DIR": project_dir(repository),
        "CI_PROJECT_ID": lasting_number(remote.path),
        "CI_PROJECT_NAME": name,
        "CI_PROJECT_NAMESPACE": namespace,
        "CI_PROJECT_NAMESPACE_ID": lasting_number(namespace),
        "CI_PROJECT_NAMESPACE_SLUG": slug(namespace),
        "CI_PROJECT_PATH": remote.path,
        "CI_PROJECT_PATH_SLUG": slug(remote.path),
        "CI_PROJECT_REPOSITORY_LANGUAGES": "",
        "CI_PROJECT_ROOT_NAMESPACE": group,
        "CI_PROJECT_ROOT_NAMESPACE_SLUG": slug(group),
        "CI_PROJECT_TITLE": remote.title,
        "CI_PROJECT_TOPICS": "",
        "CI_PROJECT_URL": f"{server}/{remote.path}",
        "CI_PROJECT_VISIBILITY": "private",
        "CI_REGISTRY": registry,
        "CI_REGISTRY_IMAGE": f"{registry}/{remote.path.lower()}",
        "CI_REPOSITORY_URL": remote.url,
        "CI_SERVER": "yes",
        "CI_SERVER_FQDN": fqdn,
        "CI_SERVER_HOST": remote.host,
        "CI_SERVER_NAME": "Longshore",
        "CI_SERVER_PORT": remote.port,
        "CI_SERVER_PROTOCOL": remote.scheme,
        "CI_SERVER_REVISION": "",
        "CI_SERVER_SHELL_SSH_HOST": remote.host,
        "CI_SERVER_SHELL_SSH_PORT": SSH_PORT,
        "CI_SERVER_URL": server,
        "CI_SERVER_VERSION": GITLAB_VERSION,
        "CI_SERVER_VERSION_MAJOR": major,
        "CI_SERVER_VERSION_MINOR": minor,
        "CI_SERVER_VERSION_PATCH": patch,
        "CI_TEMPLATE_REGISTRY_HOST": GITLAB_REGISTRY,
        "GITLAB_FEATURES": "",
        "GITLAB_USER_EMAIL": address,
        "GITLAB_USER_ID": lasting_number(address),
        "GITLAB_USER_LOGIN": address.partition("@")[0],
        "GITLAB_USER_NAME": user,
    }
    if remote.host != NO_HOST:
        proxy = f"{remote.host}:{remote.port}"
        variables["CI_DEPENDENCY_PROXY_SERVER"] = proxy
        variables["CI_DEPENDENCY_PROXY_DIRECT_GROUP_IMAGE_PREFIX"] = f"{proxy}/{namespace.lower()}{DEPENDENCY_PROXY}"
        variables["CI_DEPENDENCY_PROXY_GROUP_IMAGE_PREFIX"] = f"{proxy}/{group.lower()}{DEPENDENCY_PROXY}"
    return variables | _of_ref(repository, variables, given)


def _of_ref(repository: Repository, known: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Variables that differ between a branch, a tag, a merge request and an external pull request."""
    branch = given.get("CI_COMMIT_BRANCH") or given.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")
    tag = given.get("CI_COMMIT_TAG") or (repository.tag if not branch else None)
    ref = tag or branch or repository.branch or ""
    source = given.get("CI_PIPELINE_SOURCE", "push")
    variables = {"CI_COMMIT_REF_NAME": ref, "CI_COMMIT_REF_SLUG": slug(ref)}
    variables["CI_COMMIT_BEFORE_SHA"] = NO_SHA if tag or source not in OF_A_PUSH else repository.commit.before_sha
    if source == TRIGGERED:
        variables["CI_PIPELINE_TRIGGERED"] = "true"
    if ref and ref != DETACHED:
        config = f"{known['CI_SERVER_FQDN']}/{known['CI_PROJECT_PATH']}//{known['CI_CONFIG_PATH']}"
        variables["CI_CONFIG_REF_URI"] = f"{config}@refs/{'tags' if tag else 'heads'}/{ref}"
    if tag:
        return variables | {"CI_COMMIT_TAG": tag, "CI_COMMIT_TAG_MESSAGE": cut(repository.tag_message(tag))}
    if source == MERGE_REQUEST:
        return variables | _of_merge_request(repository, ref, known, given)
    variables["CI_COMMIT_BRANCH"] = ref
    if ref != repository.default_branch and (base := repository.merge_base(repository.default_branch)):
        variables["CI_COMMIT_DEFAULT_BRANCH_BASE_SHA"] = base
    if source == EXTERNAL_PULL_REQUEST:
        target = given.get("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME") or repository.default_branch
        variables |= {
            "CI_EXTERNAL_PULL_REQUEST_IID": "1",
            "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME": ref,
            "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_SHA": repository.commit.sha,
            "CI_EXTERNAL_PULL_REQUEST_SOURCE_REPOSITORY": repository.remote.path,
            "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME": target,
            "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA": repository.tip(target) or "",
            "CI_EXTERNAL_PULL_REQUEST_TARGET_REPOSITORY": repository.remote.path,
        }
    return variables


def _of_merge_request(
    repository: Repository, ref: str, known: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    target = given.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME") or repository.default_branch
    description = repository.commit.description
    merged = given.get("CI_MERGE_REQUEST_EVENT_TYPE") in MERGED_RESULTS
    variables = {
        "CI_MERGE_REQUEST_DESCRIPTION": description[:MAX_DESCRIPTION],
        "CI_MERGE_REQUEST_DESCRIPTION_IS_TRUNCATED": str(len(description) > MAX_DESCRIPTION).lower(),
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": repository.merge_base(target) or "",
        "CI_MERGE_REQUEST_DIFF_ID": "1",
        "CI_MERGE_REQUEST_DRAFT": str(bool(_DRAFT.match(repository.commit.title))).lower(),
        "CI_MERGE_REQUEST_EVENT_TYPE": "detached",
        "CI_MERGE_REQUEST_ID": "1",
        "CI_MERGE_REQUEST_IID": "1",
        "CI_MERGE_REQUEST_REF_PATH": "refs/merge-requests/1/head",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": ref,
        "CI_MERGE_REQUEST_SOURCE_BRANCH_PROTECTED": "false",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": repository.commit.sha if merged else "",
        "CI_MERGE_REQUEST_SQUASH_ON_MERGE": "false",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": target,
        "CI_MERGE_REQUEST_TARGET_BRANCH_PROTECTED": "false",
        "CI_MERGE_REQUEST_TARGET_BRANCH_SHA": (repository.tip(target) or "") if merged else "",
        "CI_MERGE_REQUEST_TITLE": repository.commit.title[:MAX_TITLE],
        "CI_OPEN_MERGE_REQUESTS": f"{known['CI_PROJECT_PATH']}!1",
    }
    for part in ("ID", "PATH", "URL"):
        variables[f"CI_MERGE_REQUEST_PROJECT_{part}"] = known[f"CI_PROJECT_{part}"]
        variables[f"CI_MERGE_REQUEST_SOURCE_PROJECT_{part}"] = known[f"CI_PROJECT_{part}"]
    return variables


def of_job(name: str, stage: str, index: int | None, total: int) -> dict[str, str]:
    """Variables of one job; `index` counts the jobs of a `parallel` from 1."""
    variables = {
        "CI_JOB_GROUP_NAME": _GROUPED.sub("", name).strip() or name,
        "CI_JOB_NAME": name,
        "CI_JOB_NAME_SLUG": slug(name),
        "CI_JOB_STAGE": stage,
        "CI_NODE_TOTAL": str(total),
    }
    if index is not None:
        variables["CI_NODE_INDEX"] = str(index)
    return variables


def of_environment(environment: EnvironmentSpec, project: str) -> dict[str, str]:
    """Variables that an environment of a project gives its job, except its URL."""
    return {
        "CI_ENVIRONMENT_ACTION": environment.action,
        "CI_ENVIRONMENT_ID": lasting_number(f"{project} {environment.name}"),
        "CI_ENVIRONMENT_NAME": environment.name,
        "CI_ENVIRONMENT_SLUG": environment.slug,
        "CI_ENVIRONMENT_TIER": environment.tier,
    }


def lasting_number(name: str) -> str:
    """A lasting number in place of an id on a GitLab server."""
    return str(zlib.crc32(name.encode("utf-8", "replace")))


def cut(text: str) -> str:
    """The text truncated to `MAX_TEXT_BYTES`, never within a character."""
    data = text.encode("utf-8", "replace")
    return data[:MAX_TEXT_BYTES].decode("utf-8", "ignore") if len(data) > MAX_TEXT_BYTES else text


def environment_slug(name: str) -> str:
    """GitLab's short name of an environment; a rewritten one ends in a hash of the full name."""
    short = re.sub(r"[^a-z0-9]", "-", name.lower())
    if not re.match(r"[a-z]", short):
        short = f"env-{short}"
    short = re.sub(r"-+", "-", short)
    if len(short) <= ENVIRONMENT_SLUG_LENGTH and short == name:
        return short.removesuffix("-")
    number = int.from_bytes(hashlib.sha256(name.encode("utf-8", "replace")).digest())
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return f"{short[:17].removesuffix('-')}-{digits}"


def environment_tier(name: str) -> str:
    """The tier that GitLab derives from an environment's name."""
    patterns = {
        "production": r"pro?d|live",
        "staging": r"sta?g|mode?l|pre|demo|non",
        "testing": r"test|tst|int|ac(ce)?pt|qa|qc|control|quality",
        "development": r"dev|review|trunk",
    }
    lowered = name.lower()
    for tier in ("development", "testing", "staging", "production"):
        if re.search(patterns[tier], lowered):
            return tier
    return "other"
