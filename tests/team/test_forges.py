"""Commit statuses as each forge documents them, and messages as channels get them."""

from __future__ import annotations

import hashlib
import hmac
import json

import msgspec
import pytest

from protocol.deliveries import CommitStatus, RunMessage
from protocol.errors import UsageError
from protocol.projects import Forge, ForgeKind, ProjectSpec
from protocol.statuses import ExecutionStatus as S
from team.forges import is_repeated, request
from team.notices import SIGNATURE, text, title, webhook

SHA = "a" * 40
STATUS = CommitStatus(
    project="group/app", sha=SHA, context="longshore/push", status=S.RUNNING, ref="main", run=7, description="run 7"
)
BROKEN = RunMessage(
    event="broken", project="group/app", run=7, status=S.FAILED, ref="main", sha=SHA, title="Add\r\nBcc: x",
    user="Ann", failed_jobs=["unit", "lint"], finished_at=1_800_000_000.5,
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "url", "api", "expected"),
    [
        ("gitea", "https://git.example.org/group/app.git", "", f"https://git.example.org/api/v1/repos/group/app/statuses/{SHA}"),
        ("gitea", "https://example.org/forge/group/app", "", f"https://example.org/forge/api/v1/repos/group/app/statuses/{SHA}"),
        ("gitea", "ssh://git@git.example.org:2222/group/app.git", "", f"https://git.example.org/api/v1/repos/group/app/statuses/{SHA}"),
        ("gitea", "/srv/app.git", "http://127.0.0.1:3000/api/v1/", f"http://127.0.0.1:3000/api/v1/repos/group/app/statuses/{SHA}"),
        ("github", "git@github.com:group/app.git", "", f"https://api.github.com/repos/group/app/statuses/{SHA}"),
        ("github", "https://ghe.example.org/group/app", "", f"https://ghe.example.org/api/v3/repos/group/app/statuses/{SHA}"),
        ("gitlab", "https://gitlab.com/a/b/c.git", "", f"https://gitlab.com/api/v4/projects/a%2Fb%2Fc/statuses/{SHA}"),
        ("gitlab", "git@gitlab.example.org:a/b.git", "", f"https://gitlab.example.org/api/v4/projects/a%2Fb/statuses/{SHA}"),
    ],
)  # fmt: skip
def test_a_forges_address_follows_from_the_projects(kind: ForgeKind, url: str, api: str, expected: str) -> None:
    project = ProjectSpec(name="group/app", url=url, forge=Forge(kind=kind, api=api, token="T"))
    assert request(project, STATUS, "secret", "").url == expected


def test_each_forge_gets_its_own_words_token_and_link() -> None:
    def of(kind: ForgeKind, status: S) -> tuple[dict[str, str], dict[str, str]]:
        forge = Forge(kind=kind, token="T")
        project = ProjectSpec(name="group/app", url="https://git.example.org/group/app", forge=forge)
        made = request(project, msgspec.structs.replace(STATUS, status=status), "secret", "https://ci.example.org")
        assert "secret" not in repr(made)
        return json.loads(made.body), made.headers

    body, headers = of("gitea", S.RUNNING)
    assert headers["Authorization"] == "token secret"
    link = "https://ci.example.org/runs/7"
    assert body == {"state": "pending", "context": "longshore/push", "description": "run 7", "target_url": link}
    assert of("github", S.RUNNING)[1]["Authorization"] == "Bearer secret"
    body, headers = of("gitlab", S.RUNNING)
    assert headers["PRIVATE-TOKEN"] == "secret"
    assert (body["state"], body["name"], body["ref"], body["target_url"]) == ("running", "longshore/push", "main", link)
    words = {kind: [of(kind, status)[0]["state"] for status in S] for kind in ("gitea", "gitlab")}
    assert words["gitea"] == [*["pending"] * 7, "success", "failure", "error", "success"]
    assert words["gitlab"] == [*["pending"] * 5, *["running"] * 2, "success", "failed", "canceled", "skipped"]
    nowhere = ProjectSpec(name="group/app", url="/srv/app.git", forge=Forge(kind="gitea", token="T"))
    with pytest.raises(UsageError, match="longshore project set group/app --forge-api URL"):
        request(nowhere, STATUS, "secret", "")
    assert is_repeated(400, b'{"message":"Cannot transition status via :enqueue from :pending"}')
    assert not is_repeated(400, b'{"message":"ref is invalid"}')


def test_a_message_is_one_line_of_subject_a_text_and_json_with_a_signature() -> None:
    assert title(BROKEN) == "group/app main: is broken"
    assert text(BROKEN, "https://ci.example.org").splitlines() == [
        "Run 7 of group/app main failed.",
        f"Commit {SHA[:8]}: Add Bcc: x",
        "By Ann",
        "Failed: unit, lint",
        "https://ci.example.org/runs/7",
    ]
    made = webhook(BROKEN, "https://x.example.org/hook", "key", "message 1 7", "")
    assert made.headers[SIGNATURE] == "sha256=" + hmac.new(b"key", made.body, hashlib.sha256).hexdigest()
    with_user = webhook(BROKEN, "https://ann:pass%20word@x.example.org/hook?a=b", "key", "message 1 7", "")
    assert with_user.url == "https://x.example.org/hook?a=b"
    assert with_user.headers["Authorization"] == "Basic YW5uOnBhc3Mgd29yZA=="
    document = json.loads(made.body)
    assert (document["event"], document["url"], document["finished_at"]) == ("broken", None, "2027-01-15T08:00:00.500Z")
