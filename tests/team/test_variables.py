"""What a trigger's run is told, and what is new in a poll. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pipeline.git_repository import NO_SHA
from protocol.projects import MergeRequest, ProjectSpec, TriggerSpec
from team.mirrors import Refs
from team.polling import Seen, triggers
from team.variables import given, is_protected, is_skipped, of_trigger, ref_of_run

PROJECT = ProjectSpec(name="group/app", url="https://git.example.org/group/app.git", protected_tags=["v*"])
REQUEST = MergeRequest(iid="7", id="70", title="T", source_branch="feature", target_branch="main", assignees=["a", "b"])


def spec(**fields: Any) -> TriggerSpec:
    return TriggerSpec(project=PROJECT.name, key="k", **{"source": "push", "ref": "main", **fields})


@pytest.mark.parametrize(("message", "source", "skipped"), [
    ("Fix [ci skip]", "push", True), ("Fix\n\n[skip ci] it", "push", True), ("[Skip-CI]", "merge_request_event", True),
    ("[ci_skip]", "push", True), ("skip ci", "push", False), ("[ci skip]", "api", False),
    ("[ci skip]", "schedule", False),
])  # fmt: skip
def test_a_message_skips_what_nobody_has_asked_for(message: str, source: str, skipped: bool) -> None:
    assert is_skipped(spec(source=source), message) is skipped


@pytest.mark.parametrize(("trigger", "kind", "protected", "ref"), [
    (spec(), {"CI_COMMIT_BRANCH": "main"}, True, "main"),
    (spec(ref="dev"), {"CI_COMMIT_BRANCH": "dev"}, False, "dev"),
    (spec(ref="v1", tag=True), {"CI_COMMIT_TAG": "v1"}, True, "v1"),
    (spec(ref="main", tag=True), {"CI_COMMIT_TAG": "main"}, False, "main"),
    (spec(from_fork=True), {"CI_COMMIT_BRANCH": "main"}, False, "main"),
    (spec(source="merge_request_event", merge_request=REQUEST), {}, False, "refs/merge-requests/7/head"),
])  # fmt: skip
def test_each_kind_of_pipeline_has_its_ref_and_its_rights(
    trigger: TriggerSpec, kind: dict[str, str], protected: bool, ref: str
) -> None:
    found = given(trigger)
    assert found.pop("CI_PIPELINE_SOURCE") == trigger.source
    assert {key: value for key, value in found.items() if key.startswith("CI_COMMIT")} == kind
    assert is_protected(trigger, PROJECT, "main") is protected
    assert ref_of_run(trigger) == ref


def test_only_a_branch_s_push_has_a_commit_before_it() -> None:
    before = {"before_sha": "1" * 40}
    assert of_trigger(spec(**before), PROJECT, "main")["CI_COMMIT_BEFORE_SHA"] == "1" * 40
    for other in (spec(), spec(tag=True, **before), spec(source="schedule", **before)):
        assert of_trigger(other, PROJECT, "main")["CI_COMMIT_BEFORE_SHA"] == NO_SHA


def test_a_merge_request_is_described_as_gitlab_does() -> None:
    trigger = spec(source="merge_request_event", ref="feature", merge_request=REQUEST, author="Ann Other <a@x.org>")
    found = of_trigger(trigger, PROJECT, "main")
    assert found["CI_MERGE_REQUEST_ASSIGNEES"] == "a and b"
    assert found["CI_MERGE_REQUEST_ID"] == "70"
    assert found["CI_MERGE_REQUEST_SOURCE_PROJECT_URL"] == "https://git.example.org/group/app"
    assert (found["GITLAB_USER_NAME"], found["GITLAB_USER_EMAIL"], found["GITLAB_USER_LOGIN"]) == (
        "Ann Other", "a@x.org", "a",
    )  # fmt: skip
    assert "CI_MERGE_REQUEST_MILESTONE" not in found
    long = msgspec.structs.replace(REQUEST, description="x" * 3000)
    found = of_trigger(spec(source="merge_request_event", merge_request=long), PROJECT, "main")
    assert (len(found["CI_MERGE_REQUEST_DESCRIPTION"]), found["CI_MERGE_REQUEST_DESCRIPTION_IS_TRUNCATED"]) == (
        2700, "true",
    )  # fmt: skip


def test_a_poll_finds_what_is_new_and_a_branch_that_goes_back_and_forth_each_time() -> None:
    one, two = "1" * 40, "2" * 40
    seen = Seen(1, {"main": one, "gone": one}, {"v1": one})
    found = list(triggers(PROJECT, seen, Refs({"main": two, "new": one}, {"v1": one, "v2": two}), 2))
    assert [(each.ref, each.tag, each.before_sha, each.sha) for each in found] == [
        ("main", False, one, two), ("new", False, NO_SHA, one), ("v2", True, NO_SHA, two),
    ]  # fmt: skip
    back = list(triggers(PROJECT, Seen(2, {"main": two}), Refs({"main": one}), 3))
    forth = list(triggers(PROJECT, Seen(3, {"main": one}), Refs({"main": two}), 4))
    keys = [each.key for each in (*found, *back, *forth)]
    assert len(set(keys)) == len(keys)
    assert max(map(len, keys)) <= 200
    (long,) = triggers(PROJECT, Seen(1), Refs({"x" * 300: one}), 10**9)
    assert len(long.key) <= 200
