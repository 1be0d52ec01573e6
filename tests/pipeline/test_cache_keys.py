"""`cache:key:files_commits`: the key follows the last commits that changed the files."""

from __future__ import annotations

import pytest

from tests.support.project import Project

TEXT = """\
job:
  script: [x]
  cache:
    - {key: {files_commits: [a.lock, "sub/*.lock"], prefix: $CI_JOB_NAME}, paths: [one]}
    - {key: unused}
    - {key: {files_commits: [a.lock]}, paths: [two]}
"""


def keys(project: Project) -> list[str]:
    return [cache.key for cache in project.job(TEXT).caches]


def test_the_key_changes_with_each_commit_of_one_of_the_files(project: Project) -> None:
    project.write("a.lock", "1")
    project.write("sub/b.lock", "1")
    project.commit()
    first = keys(project)
    assert first[0].startswith("$CI_JOB_NAME-")
    assert first[1].startswith("1-"), "without a prefix it is the number of the cache"

    project.write("other", "1")
    project.commit("another file")
    project.write("a.lock", "not committed")
    assert keys(project) == first

    project.write("a.lock", "1")
    project.write("sub/b.lock", "2")
    project.commit("a file of the pattern")
    second = keys(project)
    assert second[0] != first[0]
    assert second[1] == first[1]

    project.write("sub/b.lock", "1")
    project.commit("the first content again")
    assert keys(project)[0] not in (first[0], second[0]), "commits count, not contents"


def test_without_a_commit_of_the_files_the_key_is_default_with_a_warning(project: Project) -> None:
    project.write("a.lock", "1")
    assert keys(project) == ["$CI_JOB_NAME-default", "1-default"]
    assert project.warnings(TEXT)[0] == (
        ".gitlab-ci.yml:4: job.cache.key.files_commits: no commit has changed a.lock or sub/*.lock, "
        "so the key is `default`"
    )


@pytest.mark.parametrize(
    "key", ["{files: [a], files_commits: [b]}", "{prefix: x}", "{files: []}", "{files_commits: [a, b, c]}"]
)
def test_a_key_names_one_or_two_files_of_one_kind(project: Project, key: str) -> None:
    assert project.problems(f"job: {{script: [x], cache: {{key: {key}, paths: [p]}}}}\n")


def test_a_job_has_at_most_four_caches_and_fewer_than_fifty_tags(project: Project) -> None:
    four = ", ".join(f"{{key: k{number}, paths: [p]}}" for number in range(4))
    assert len(project.job(f"job: {{script: [x], cache: [{four}], tags: {list(range(49))}}}\n").caches) == 4
    assert project.problems(
        f"job: {{script: [x], cache: [{four}, {{key: k, paths: [p]}}], tags: {list(range(50))}}}\n"
    ) == [
        ".gitlab-ci.yml:1: job.cache: has more than 4 items",
        ".gitlab-ci.yml:1: job.tags: has more than 49 items",
    ]
