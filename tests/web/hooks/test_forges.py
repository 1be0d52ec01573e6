"""Each forge's deliveries: recognized, verified, and read into triggers."""

from __future__ import annotations

import time
from urllib.parse import urlencode

import pytest

from protocol.errors import UsageError
from protocol.projects import TriggerSpec
from tests.web.hooks import deliveries as d
from web.hooks.delivery import Delivery, Report, checked
from web.hooks.forges import is_about, sender


def received(signed: d.Signed) -> Delivery:
    headers, body = signed
    return Delivery({name.lower(): value for name, value in headers.items()}, body)


def read(signed: d.Signed) -> Report:
    delivery = received(signed)
    forge = sender(delivery)
    assert forge is not None
    return checked(forge.report(delivery))


def only(signed: d.Signed) -> TriggerSpec:
    (trigger,) = read(signed).triggers
    return trigger


@pytest.mark.parametrize("name", d.PUSHES)
def test_a_push_is_recognized_verified_and_read(name: str) -> None:
    delivery = received(d.PUSHES[name]())
    forge = sender(delivery)
    assert forge is not None
    assert forge.name == name
    assert forge.is_signed(delivery, d.SECRET)
    assert not forge.is_signed(delivery, "another secret")
    assert not forge.is_signed(Delivery(dict.fromkeys(forge.marks, "push"), delivery.body), d.SECRET)
    if name != "gitlab":  # whose token signs nothing
        assert not forge.is_signed(Delivery(delivery.headers, delivery.body + b" "), d.SECRET)
    report = checked(forge.report(delivery))
    assert report.repository == d.PATH
    (trigger,) = report.triggers
    assert (trigger.source, trigger.ref, trigger.tag) == ("push", "main", False)
    assert (trigger.sha, trigger.before_sha) == (d.SHA, d.BEFORE)
    assert (trigger.title, trigger.author, trigger.user) == ("Add a test", "Ada <ada@example.com>", "ada")
    assert not trigger.from_fork


def test_tags_are_told_from_branches_and_deleted_refs_start_nothing() -> None:
    tag = {"ref": "refs/tags/v1.0"}
    for signed in (d.PUSHES["gitea"](**tag), d.PUSHES["github"](**tag), d.PUSHES["plain"](**tag)):
        assert (only(signed).ref, only(signed).tag) == ("v1.0", True)
    annotated = only(d.gitlab(d.gitlab_push("refs/tags/v1.0", after="1" * 40)))
    assert (annotated.ref, annotated.tag, annotated.sha) == ("v1.0", True, d.SHA), "the tag's commit, not its object"
    assert only(d.bitbucket(d.server_push("refs/tags/v1.0"), "repo:refs_changed")).tag
    gone = {"after": d.NOTHING}
    for name in ("gitea", "github", "gitlab", "plain"):
        report = read(d.PUSHES[name](**gone))
        assert (report.triggers, report.ignored) == ([], "refs/heads/main was deleted"), name
    assert not read(d.bitbucket(d.server_push(after=d.NOTHING), "repo:refs_changed")).triggers
    assert not read(d.bitbucket(d.bitbucket_push())).triggers
    assert not read(d.plain({"ref": "refs/pull/7/head", "after": d.SHA})).triggers


def test_a_delivery_may_report_several_refs() -> None:
    report = read(d.bitbucket(d.bitbucket_push(("branch", "main"), ("annotated_tag", "v1"))))
    assert [(trigger.ref, trigger.tag) for trigger in report.triggers] == [("main", False), ("v1", True)]


def test_events_without_new_commits_start_nothing() -> None:
    for signed in (
        d.github({"zen": "Keep it simple.", "hook_id": 1}, "ping"),
        d.gitea({"ref": "v1", "ref_type": "tag"}, "create"),
        d.gitlab({"object_kind": "note"}, "Note Hook"),
        d.bitbucket({"test": True}, "diagnostics:ping"),
        d.gitea(d.gitea_request("labeled"), "pull_request"),
        d.github(d.gitea_request("closed"), "pull_request"),
        d.gitlab(d.gitlab_request("update"), "Merge Request Hook"),
        d.gitlab(d.gitlab_request("approved"), "Merge Request Hook"),
    ):
        report = read(signed)
        assert not report.triggers
        assert report.ignored


@pytest.mark.parametrize("fork", [False, True])
def test_merge_requests_are_read_and_those_from_forks_marked(fork: bool) -> None:
    update = d.gitlab_request("update", fork=fork, oldrev=d.BEFORE)
    requests = {
        "refs/pull/7/head": [
            only(d.gitea(d.gitea_request(fork=fork), "pull_request")),
            only(d.gitea(d.gitea_request("synchronized", fork=fork), "pull_request_sync")),
            only(d.github(d.gitea_request("synchronize", fork=fork), "pull_request")),
        ],
        "refs/merge-requests/7/head": [only(d.gitlab(d.gitlab_request(fork=fork))), only(d.gitlab(update))],
        "refs/pull-requests/7/from": [only(d.bitbucket(d.server_request(fork=fork), "pr:opened"))],
    }
    for fetch_ref, triggers in requests.items():
        for trigger in triggers:
            request = trigger.merge_request
            assert request is not None
            assert trigger.source == "merge_request_event"
            assert (trigger.ref, trigger.sha, trigger.from_fork) == ("feature", d.SHA, fork)
            assert (request.iid, request.title) == ("7", "Add a feature")
            assert (request.source_branch, request.target_branch) == ("feature", "main")
            assert request.fetch_ref == fetch_ref
    request = requests["refs/pull/7/head"][0].merge_request
    assert request is not None
    assert (request.draft, request.labels, request.milestone, request.author) == (True, ["bug"], "v2", "eve")
    assert request.source_project == ("eve/app" if fork else d.PATH)


def test_a_pull_request_whose_author_need_not_be_trusted_counts_as_one_of_a_fork() -> None:
    gone = d.gitea_request()
    gone["pull_request"]["head"]["repo"] = None
    assert only(d.gitea(gone, "pull_request")).from_fork
    assert only(d.github(gone, "pull_request")).from_fork
    agit = d.gitea_request()
    agit["pull_request"]["head"] |= {"ref": "refs/pull/7/head", "label": "eve/topic"}
    trigger = only(d.gitea(agit, "pull_request"))
    assert (trigger.from_fork, trigger.ref) == (True, "eve/topic")


def test_a_pull_request_of_bitbucket_cloud_starts_once_for_each_head() -> None:
    created = only(d.bitbucket(d.bitbucket_request(), "pullrequest:created"))
    renamed = d.bitbucket_request()
    renamed["pullrequest"]["title"] = "Another title"
    updated = only(d.bitbucket(renamed, "pullrequest:updated"))
    assert created.key == updated.key != ""
    assert created.merge_request is not None
    assert (created.sha, created.merge_request.fetch_ref) == (d.SHA[:12], "")
    assert not read(d.bitbucket(d.bitbucket_request(fork=True), "pullrequest:created")).triggers


def test_gitlab_may_sign_with_a_signing_token_which_expires() -> None:
    secret = "whsec_" + "c2VjcmV0IG9mIHRoaXMgaG9vayE="
    forge = sender(received(d.signed_gitlab(d.gitlab_push(), secret)))
    assert forge is not None
    for key in (secret, "a plain secret"):
        right = received(d.signed_gitlab(d.gitlab_push(), key))
        assert forge.is_signed(right, key)
        assert not forge.is_signed(right, "whsec_b3RoZXI=")
        assert not forge.is_signed(right, "whsec_not base64")
        assert not forge.is_signed(Delivery(right.headers, right.body + b" "), key)
        assert not forge.is_signed(received(d.signed_gitlab(d.gitlab_push(), key, at=time.time() - 3600)), key)
    assert not forge.is_signed(Delivery({**right.headers, "webhook-timestamp": "soon"}, right.body), key)


def test_a_repetition_has_the_id_of_the_first_delivery_whatever_its_headers() -> None:
    for name, build in d.PUSHES.items():
        first, again = received(build()), received(build())
        forge = sender(first)
        assert forge is not None
        if name in ("gitea", "github", "bitbucket"):  # their ids are in headers that nothing signs
            again = Delivery({**again.headers, "x-gitea-delivery": "2", "x-github-delivery": "2"}, again.body)
        assert forge.delivery_id(first) == forge.delivery_id(again), name
        assert len(forge.delivery_id(first)) <= 150
    relabelled, body = d.gitea(d.gitea_push())
    as_github = received(({key: value for key, value in relabelled.items() if "ub" in key}, body))
    assert sender(as_github).name == "github"
    assert sender(as_github).delivery_id(as_github) == sender(received((relabelled, body))).delivery_id(as_github)
    retried, other = d.gitlab(d.gitlab_push()), d.gitlab(d.gitlab_push())
    other[0]["Idempotency-Key"] = "another push of the same commit"
    gitlab = sender(received(retried))
    assert gitlab.delivery_id(received(retried)) != gitlab.delivery_id(received(other))


def test_plain_json_takes_variables_and_an_id_and_refuses_unknown_fields() -> None:
    payload = {"ref": "refs/heads/main", "after": d.SHA, "variables": {"LEVEL": "3"}, "id": "build-17"}
    trigger = only(d.plain(payload))
    assert [(variable.key, variable.value) for variable in trigger.variables] == [("LEVEL", "3")]
    delivery = received(d.plain(payload))
    assert sender(delivery).delivery_id(delivery) == "plain build-17"
    for wrong, word in (
        ({"variables": {"A B": "1"}}, "A B"),
        ({"variables": {f"V{number}": "" for number in range(101)}}, "101"),
        ({"colour": "red"}, "colour"),
        ({"after": 5}, "after"),
        ({"ref": "refs/heads/a..b"}, "a..b"),
        ({"ref": "refs/heads/-x"}, "-x"),
        ({"after": "HEAD"}, "HEAD"),
    ):
        with pytest.raises(UsageError, match=word):
            read(d.plain(payload | wrong))


def test_a_form_with_the_payload_is_read_too() -> None:
    headers, body = d.github(d.gitea_push())
    form = urlencode({"payload": body.decode()}).encode()
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    assert only((headers, form)).ref == "main"
    assert only((headers, body)).ref == "main", "curl calls JSON a form too"
    for malformed in (b"payload=\xff", b"payload=" + b"&a=1" * 5000, b"payload=1", b"other=1"):
        with pytest.raises(UsageError, match=r"form|payload"):
            read((headers, malformed))


def test_a_malformed_payload_is_refused_with_its_fault() -> None:
    for body, word in ((b"{", "truncated"), (b"[]", "object"), (b"[" * 9000, "payload"), (b'{"ref": 3}', "ref")):
        with pytest.raises(UsageError, match=word):
            read((d.gitea(d.gitea_push())[0], body))


@pytest.mark.parametrize(
    ("url", "path", "about"),
    [
        ("https://forge.example/team/app.git", "team/app", True),
        ("https://mirror.example:3000/git/Team/App", "team/app", True),
        ("git@forge.example:team/app.git", "team/app", True),
        ("ssh://git@forge.example/scm/TEAM/app.git", "TEAM/app", True),
        ("https://forge.example/team/app.git", "team/other", False),
        ("https://forge.example/team/app.git", "app", False),
        ("https://forge.example/team/app.git", "m/app", False),
        ("git@forge.example:team/app.git", "eve/app", False),
        ("/srv/git/app.git", "whoever/app", True),
        ("/srv/git/app.git", "team/second", False),
        ("/srv/git/app.git", "mirrors/team/second", False),
        ("https://elsewhere.example/x.git", "our/project", True),
        ("https://forge.example/team/app.git", "", True),
    ],
)
def test_a_hook_is_only_for_its_own_repository(url: str, path: str, about: bool) -> None:
    assert is_about(Report(repository=path), "our/project", url, ["team/second"]) is about
