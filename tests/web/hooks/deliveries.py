"""Deliveries as each forge documents them, reduced to the fields that it always sends, and their signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

SECRET = "a secret of this hook"
SHA = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"
BEFORE = "95790bf891e76fee5e1747ab589903a6a1f80f22"
NOTHING = "0" * 40
HOST = "https://forge.example"
PATH = "team/app"

Json = dict[str, Any]
Signed = tuple[dict[str, str], bytes]


def body_of(payload: Json) -> bytes:
    """A payload as forges send it."""
    return json.dumps(payload).encode()


def hex_hmac(body: bytes, secret: str) -> str:
    """The HMAC that most forges send."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


# --- payloads --------------------------------------------------------------------------------------------------------


def gitea_repository(path: str = PATH) -> Json:
    """The same for GitHub, with more fields in both."""
    return {
        "id": 1,
        "full_name": path,
        "clone_url": f"{HOST}/{path}.git",
        "ssh_url": f"git@forge.example:{path}.git",
        "html_url": f"{HOST}/{path}",
        "default_branch": "main",
    }


def gitea_push(ref: str = "refs/heads/main", after: str = SHA, before: str = BEFORE, path: str = PATH) -> Json:
    """GitHub's has the same fields; `pusher` differs."""
    author = {"name": "Ada", "email": "ada@example.com", "username": "ada"}
    commit = {"id": after, "message": "Add a test\n\nWith details.", "author": author, "committer": author}
    gone = after == NOTHING
    return {
        "ref": ref,
        "before": before,
        "after": after,
        "deleted": gone,
        "commits": [] if gone else [commit],
        "head_commit": None if gone else commit,
        "repository": gitea_repository(path),
        "pusher": {"login": "ada", "name": "ada", "email": "ada@example.com"},
        "sender": {"login": "ada"},
    }


def gitea_request(action: str = "opened", *, fork: bool = False, path: str = PATH) -> Json:
    """GitHub's has the same fields, except `repo_id`."""
    head = gitea_repository("eve/app" if fork else path) | {"id": 2 if fork else 1}
    return {
        "action": action,
        "number": 7,
        "pull_request": {
            "id": 99,
            "number": 7,
            "html_url": f"{HOST}/{path}/pulls/7",
            "title": "Add a feature",
            "body": "It does things.",
            "user": {"login": "eve"},
            "draft": True,
            "labels": [{"name": "bug"}],
            "assignees": None,
            "milestone": {"title": "v2"},
            "head": {"ref": "feature", "label": "feature", "sha": SHA, "repo_id": head["id"], "repo": head},
            "base": {"ref": "main", "label": "main", "sha": BEFORE, "repo_id": 1, "repo": gitea_repository(path)},
        },
        "repository": gitea_repository(path),
        "sender": {"login": "eve"},
    }


def gitlab_project(path: str = PATH) -> Json:
    """A project of GitLab."""
    return {
        "id": 1,
        "path_with_namespace": path,
        "git_http_url": f"{HOST}/{path}.git",
        "git_ssh_url": f"git@forge.example:{path}.git",
        "web_url": f"{HOST}/{path}",
        "default_branch": "main",
    }


def gitlab_push(ref: str = "refs/heads/main", after: str = SHA, before: str = BEFORE, path: str = PATH) -> Json:
    """A push or a tag push."""
    gone = after == NOTHING
    author = {"name": "Ada", "email": "ada@example.com"}
    return {
        "object_kind": "tag_push" if ref.startswith("refs/tags/") else "push",
        "ref": ref,
        "before": before,
        "after": after,
        "checkout_sha": None if gone else SHA,
        "user_username": "ada",
        "user_name": "Ada",
        "project": gitlab_project(path),
        "commits": [] if gone else [{"id": after, "message": "Add a test\n", "author": author}],
    }


def gitlab_request(action: str = "open", *, fork: bool = False, path: str = PATH, oldrev: str | None = None) -> Json:
    """A merge request's event."""
    attributes = {
        "id": 99,
        "iid": 7,
        "title": "Add a feature",
        "description": None,
        "action": action,
        "source_branch": "feature",
        "target_branch": "main",
        "source_project_id": 2 if fork else 1,
        "target_project_id": 1,
        "source": gitlab_project("eve/app" if fork else path),
        "target": gitlab_project(path),
        "last_commit": {"id": SHA, "message": "Add it", "author": {"name": "Eve", "email": "eve@example.com"}},
        "draft": True,
        "labels": [{"title": "bug"}],
        "url": f"{HOST}/{path}/-/merge_requests/7",
    }
    if oldrev:
        attributes["oldrev"] = oldrev
    return {
        "object_kind": "merge_request",
        "user": {"name": "Eve", "username": "eve"},
        "project": gitlab_project(path),
        "object_attributes": attributes,
    }


def bitbucket_repository(path: str = PATH, uuid: str = "{1}") -> Json:
    """A repository of Bitbucket Cloud."""
    return {"full_name": path, "uuid": uuid, "links": {"html": {"href": f"{HOST}/{path}"}}}


def bitbucket_push(*names: tuple[str, str], path: str = PATH) -> Json:
    """A push of refs, each a kind and a name."""
    raw = "Ada <ada@example.com>"
    target = {"type": "commit", "hash": SHA, "message": "Add a test\n", "author": {"raw": raw}}
    old = {"type": "branch", "name": "old", "target": target | {"hash": BEFORE}}
    changes: list[Json] = [{"new": {"type": kind, "name": name, "target": target}, "old": old} for kind, name in names]
    changes.append({"new": None, "old": old, "closed": True})
    return {
        "actor": {"display_name": "Ada L.", "nickname": "ada"},
        "repository": bitbucket_repository(path),
        "push": {"changes": changes},
    }


def bitbucket_request(*, fork: bool = False, path: str = PATH) -> Json:
    """A pull request's event, with abbreviated commits."""
    repository = bitbucket_repository(path)
    return {
        "actor": {"nickname": "eve"},
        "repository": repository,
        "pullrequest": {
            "id": 7,
            "title": "Add a feature",
            "description": "It does things.",
            "source": {
                "branch": {"name": "feature"},
                "commit": {"hash": SHA[:12]},
                "repository": bitbucket_repository("eve/app", "{2}") if fork else repository,
            },
            "destination": {
                "branch": {"name": "main"},
                "commit": {"hash": BEFORE[:12]},
                "repository": repository,
            },
            "links": {"html": {"href": f"{HOST}/{path}/pull-requests/7"}},
        },
    }


def server_repository(number: int = 1) -> Json:
    """A repository of Bitbucket Data Center."""
    return {"slug": "app", "id": number, "name": "app", "project": {"key": "TEAM", "id": 2}}


def server_push(ref: str = "refs/heads/main", after: str = SHA) -> Json:
    """A push to Data Center."""
    change = {"ref": {"id": ref}, "refId": ref, "fromHash": BEFORE, "toHash": after, "type": "UPDATE"}
    return {
        "eventKey": "repo:refs_changed",
        "actor": {"name": "ada"},
        "repository": server_repository(),
        "changes": [change],
    }


def server_request(*, fork: bool = False) -> Json:
    """A pull request of Data Center."""

    def side(branch: str, sha: str, repository: int) -> Json:
        return {
            "id": f"refs/heads/{branch}",
            "displayId": branch,
            "latestCommit": sha,
            "repository": server_repository(repository),
        }

    return {
        "eventKey": "pr:opened",
        "actor": {"name": "eve"},
        "pullRequest": {
            "id": 7,
            "title": "Add a feature",
            "fromRef": side("feature", SHA, 2 if fork else 1),
            "toRef": side("main", BEFORE, 1),
        },
    }


# --- deliveries: headers and body ------------------------------------------------------------------------------------


def gitea(payload: Json, event: str = "push", secret: str = SECRET) -> Signed:
    """As Forgejo sends it: with the headers of Gitea and GitHub too."""
    body = body_of(payload)
    digest = hex_hmac(body, secret)
    return {
        "X-Forgejo-Event": event,
        "X-Forgejo-Signature": digest,
        "X-Gitea-Event": event,
        "X-Gitea-Delivery": "f6266f16-1bf3-46a5-9ea4-602e06ead473",
        "X-Gitea-Signature": digest,
        "X-GitHub-Event": event,
        "X-Hub-Signature-256": f"sha256={digest}",
        "Content-Type": "application/json",
    }, body


def github(payload: Json, event: str = "push", secret: str = SECRET) -> Signed:
    """As GitHub sends it."""
    body = body_of(payload)
    return {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "X-Hub-Signature-256": f"sha256={hex_hmac(body, secret)}",
        "Content-Type": "application/json",
    }, body


def gitlab(payload: Json, event: str = "Push Hook", secret: str = SECRET) -> Signed:
    """As GitLab sends it with a secret token."""
    return {
        "X-Gitlab-Event": event,
        "X-Gitlab-Token": secret,
        "X-Gitlab-Event-UUID": "13792a34-cac6-4fda-95a8-c58e00a3954e",
        "Idempotency-Key": "f5e5f430-f57b-4e6e-9fac-d9128cd7232f",
        "Content-Type": "application/json",
    }, body_of(payload)


def signed_gitlab(payload: Json, secret: str, *, at: float | None = None, id: str = "msg_1") -> Signed:
    """As GitLab sends it with a signing token."""
    body, stamp = body_of(payload), str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    digest = hmac.new(key, f"{id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "X-Gitlab-Event": "Push Hook",
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        "Content-Type": "application/json",
    }, body


def bitbucket(payload: Json, event: str = "repo:push", secret: str = SECRET) -> Signed:
    """As Bitbucket sends it, Cloud and Data Center."""
    body = body_of(payload)
    return {
        "X-Event-Key": event,
        "X-Request-UUID": "b5f0f8fd-0000-4000-8000-000000000000",
        "X-Hub-Signature": f"sha256={hex_hmac(body, secret)}",
        "Content-Type": "application/json",
    }, body


def plain(payload: Json, event: str = "", secret: str = SECRET) -> Signed:
    """As docs/team.md describes it."""
    body = body_of(payload)
    return {"X-Longshore-Signature": f"sha256={hex_hmac(body, secret)}", "Content-Type": "application/json"}, body


PUSHES: dict[str, Callable[..., Signed]] = {
    "gitea": lambda secret=SECRET, **push: gitea(gitea_push(**push), secret=secret),
    "github": lambda secret=SECRET, **push: github(gitea_push(**push), secret=secret),
    "gitlab": lambda secret=SECRET, **push: gitlab(gitlab_push(**push), secret=secret),
    "bitbucket": lambda secret=SECRET, **push: bitbucket(_bitbucket_push(**push), secret=secret),
    "plain": lambda secret=SECRET, **push: plain(_plain_push(**push), secret=secret),
}
"""A push as each forge reports it."""


def _bitbucket_push(ref: str = "refs/heads/main", after: str = SHA, path: str = PATH, before: str = BEFORE) -> Json:
    payload = bitbucket_push(("branch", ref.removeprefix("refs/heads/")), path=path)
    payload["push"]["changes"][0]["new"]["target"]["hash"] = after
    return payload


def _plain_push(ref: str = "refs/heads/main", after: str = SHA, path: str = PATH, before: str = BEFORE) -> Json:
    return {
        "ref": ref,
        "after": after,
        "before": before,
        "repository": path,
        "title": "Add a test",
        "author": {"name": "Ada", "email": "ada@example.com"},
        "user": "ada",
    }
