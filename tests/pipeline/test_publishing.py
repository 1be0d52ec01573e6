"""`release`: what a plan has of it, and what GitLab refuses."""

from __future__ import annotations

import pytest

from protocol.plan import Release, ReleaseLink
from tests.support.project import Project


def test_a_plan_has_the_release_as_it_is_written(project: Project) -> None:
    text = """
        job:
          script: [x]
          release:
            tag_name: v$VERSION
            name: Release $VERSION
            description: ./NOTES.md
            tag_message: signed
            ref: $CI_COMMIT_SHA
            milestones: [m1, "$M"]
            released_at: 2026-01-31T12:00:00Z
            assets:
              links:
                - {name: binary, url: "https://example.com/$VERSION", filepath: /bin, link_type: package}
                - {name: docs, url: https://example.com/docs}
        """
    (job,) = project.plan(text).jobs
    assert job.release == Release(
        tag_name="v$VERSION",
        name="Release $VERSION",
        description="./NOTES.md",
        tag_message="signed",
        ref="$CI_COMMIT_SHA",
        milestones=["m1", "$M"],
        released_at="2026-01-31T12:00:00Z",
        links=[
            ReleaseLink(name="binary", url="https://example.com/$VERSION", filepath="/bin", link_type="package"),
            ReleaseLink(name="docs", url="https://example.com/docs"),
        ],
    )


@pytest.mark.parametrize(
    ("release", "message"),
    [
        ("{description: d}", "job.release: lacks 'tag_name'"),
        ("{tag_name: v1}", "job.release: lacks 'description'"),
        ("{tag_name: '', description: d}", "job.release.tag_name: is empty"),
        ("{tag_name: v1, description: ''}", "job.release.description: is empty"),
        ("{tag_name: v1, description: d, released_at: soon}", "job.release.released_at: 'soon' is not a time"),
        (
            "{tag_name: v1, description: d, tag_nam: x}",
            "job.release.tag_nam: unknown keyword; did you mean 'tag_name'?",
        ),
        ("{tag_name: v1, description: d, assets: {links: [{name: a}]}}", "assets.links[0]: lacks 'url'"),
        (
            "{tag_name: v1, description: d, assets: {links: [{name: a, url: 'u', link_type: zip}]}}",
            "must be one of other, runbook, image, package",
        ),
        (
            "{tag_name: v1, description: d, assets: {links: [{name: a, url: u}, {name: a, url: v}]}}",
            "assets.links[1].name: another link has the same name",
        ),
        (
            "{tag_name: v1, description: d, assets: {links: [{name: a, url: u, filepath: x}]}}",
            "assets.links[0].filepath: must begin with /",
        ),
        ("v1", "job.release: must be a mapping, not a string"),
    ],
    ids=range(11),
)
def test_a_wrong_release_is_refused(project: Project, release: str, message: str) -> None:
    (problem,) = project.problems(f"job: {{script: [x], parallel: 2, release: {release}}}\n")
    assert problem.startswith(".gitlab-ci.yml:1: ")
    assert message in problem
