"""`release` and `pages`: what a plan has of them, and what GitLab refuses."""

from __future__ import annotations

import pytest

from protocol.plan import PagesSpec, Release, ReleaseLink
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


@pytest.mark.parametrize(
    ("name", "keywords", "pages", "paths"),
    [
        ("pages", "", PagesSpec(), ["public"]),
        ("site", "pages: true", PagesSpec(), ["public"]),
        ("pages", "pages: false, artifacts: {paths: [x]}", None, ["x"]),
        ("site", "artifacts: {paths: [x]}", None, ["x"]),
        ("pages", "artifacts: {paths: [public/]}", PagesSpec(), ["public/"]),
        ("pages", "publish: dist, artifacts: {paths: [x]}", PagesSpec(publish="dist"), ["x", "dist"]),
        (
            "site",
            "pages: {publish: $OUT, path_prefix: '$CI_COMMIT_REF_SLUG', expire_in: 2 weeks}",
            PagesSpec(publish="$OUT", path_prefix="main", expire_in=14 * 86_400.0),
            ["$OUT"],
        ),
        (
            "site",
            "pages: {path_prefix: '-Feature/A_b.'}",
            PagesSpec(path_prefix="feature-a-b", expire_in=86_400.0),
            ["public"],
        ),
        ("site", "pages: {path_prefix: mr, expire_in: never}", PagesSpec(path_prefix="mr"), ["public"]),
        ("site", "pages: {path_prefix: ..}", PagesSpec(), ["public"]),
    ],
    ids=range(10),
)
def test_a_plan_has_the_pages_and_their_directory_among_the_artifacts(
    project: Project, name: str, keywords: str, pages: PagesSpec | None, paths: list[str]
) -> None:
    (job,) = project.plan(f"{name}: {{script: [x], {keywords}}}\n").jobs
    assert job.pages == pages
    assert job.artifacts is not None
    assert job.artifacts.paths == paths


def test_the_address_of_pages_has_their_prefix(project: Project) -> None:
    text = "site: {script: [x], pages: {path_prefix: MR 1}}\nother: {script: [x]}\n"
    address = project.variables(text, "other")["CI_PAGES_URL"]
    assert project.variables(text, "site")["CI_PAGES_URL"] == f"{address.rstrip('/')}/mr-1"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ("publish: x", "job.publish: is for jobs that publish pages; add `pages: true`"),
        ("publish: x, pages: {publish: y}", "job.publish: can't be used together with `pages:publish`"),
        ("pages: {expire_in: soon}", "job.pages.expire_in: 'soon' is not a duration"),
        ("pages: {publish: ''}", "job.pages.publish: is empty"),
        ("pages: {prefix: x}", "job.pages.prefix: unknown keyword"),
    ],
)
def test_wrong_pages_are_refused(project: Project, keywords: str, message: str) -> None:
    (problem,) = project.problems(f"job: {{script: [x], parallel: 2, {keywords}}}\n")
    assert problem.startswith(f".gitlab-ci.yml:1: {message}")
