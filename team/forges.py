"""Commit statuses as each forge's API takes them. Pure: builds requests, and reads answers.

Gitea and Forgejo: POST /api/v1/repos/OWNER/REPO/statuses/SHA. GitHub: POST /repos/OWNER/REPO/statuses/SHA. GitLab:
POST /api/v4/projects/PATH/statuses/SHA.
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote, urlsplit

import msgspec

from protocol.deliveries import CommitStatus
from protocol.errors import UsageError
from protocol.projects import ProjectSpec
from protocol.statuses import ExecutionStatus as S

USER_AGENT = "longshore"
GITHUB_API = "https://api.github.com"
_SCP = re.compile(r"(?:[^@/]+@)?(?P<host>[^:/]+):(?P<path>(?!//).+)")
_GITEA = {
    S.SUCCESS: "success",
    S.SKIPPED: "success",
    S.FAILED: "failure",
    S.CANCELED: "error",
}
"""GitHub's words too; every other status is `pending`."""
_GITLAB = {
    S.SUCCESS: "success",
    S.SKIPPED: "skipped",
    S.FAILED: "failed",
    S.CANCELED: "canceled",
    S.RUNNING: "running",
    S.PREPARING: "running",
}
"""Every other status is `pending`."""


class Request(msgspec.Struct, frozen=True):
    """An HTTP request: POST of JSON."""

    url: str
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:  # keeps the token out of logs
        return f"Request({self.url!r})"


def request(project: ProjectSpec, status: CommitStatus, token: str, web_url: str) -> Request:
    """The request that sets a commit's status, with a link to its run if there is a `web_url`.

    Raises UsageError if the forge's address can't be derived from the project's.
    """
    forge = project.forge
    assert forge is not None
    host, path = _place(project.url)
    path = path or project.name
    if not forge.api and not host:
        raise UsageError(
            f"project {project.name}: no address of a forge's API follows from {project.url}; set it: "
            f"longshore project set {project.name} --forge-api URL"
        )
    link = f"{web_url}/runs/{status.run}" if web_url and status.run is not None else ""
    if forge.kind == "gitlab":
        return _gitlab(forge.api or f"{host}/api/v4", path, status, token, link)
    if forge.kind == "github":
        api = forge.api or (GITHUB_API if host == "https://github.com" else f"{host}/api/v3")
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"}
        headers["X-GitHub-Api-Version"] = "2022-11-28"
    else:
        prefix = "/".join(path.split("/")[:-2])  # of a forge that is not at its server's root
        api = forge.api or "/".join(filter(None, [host, prefix, "api/v1"]))
        headers = {"Authorization": f"token {token}", "Accept": "application/json"}
    repository = "/".join(quote(part, safe="") for part in path.split("/")[-2:])
    body = {
        "state": _GITEA.get(status.status, "pending"),
        "context": status.context,
        "description": status.description,
    }
    if link:
        body["target_url"] = link
    return _post(f"{api.rstrip('/')}/repos/{repository}/statuses/{quote(status.sha, safe='')}", headers, body)


def _gitlab(api: str, path: str, status: CommitStatus, token: str, link: str) -> Request:
    body = {
        "state": _GITLAB.get(status.status, "pending"),
        "name": status.context,
        "description": status.description,
    }
    if status.ref:
        body["ref"] = status.ref
    if link:
        body["target_url"] = link
    url = f"{api.rstrip('/')}/projects/{quote(path, safe='')}/statuses/{quote(status.sha, safe='')}"
    return _post(url, {"PRIVATE-TOKEN": token, "Accept": "application/json"}, body)


def is_repeated(status: int, answer: bytes) -> bool:
    """Whether a refusal only says that the commit has this status already, as GitLab does."""
    return status == 400 and b"Cannot transition status" in answer


def _post(url: str, headers: dict[str, str], body: dict[str, str]) -> Request:
    more = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
    return Request(url, headers | more, json.dumps(body).encode())


def _place(url: str) -> tuple[str, str]:
    """The address of the server that a repository is on, and the repository's path there; empty for one on a disk."""
    if url.startswith(("/", "file:")):
        return "", ""
    if "://" not in url:
        scp = _SCP.fullmatch(url)
        return (f"https://{scp['host']}", _path(scp["path"])) if scp else ("", "")
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", _path(parts.path)
    return f"https://{parts.hostname or ''}", _path(parts.path)  # the port is that of ssh or git


def _path(path: str) -> str:
    return path.strip("/").removesuffix(".git")
