"""Includes of other projects, fetched by git from a server that is a directory: refs, versions, cache, bounds."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.includes import cached_project
from pipeline.includes.cached_project import Freshness
from pipeline.includes.fetching import Templates
from pipeline.includes.records import Pin
from pipeline.yaml_loader import MAX_FILE_BYTES
from tests.pipeline.includes.conftest import Fetch
from tests.support.git_servers import publish
from tests.support.project import Project

INCLUDE = "include: {project: group/ci, file: [/ci/jobs.yml, ci/last.yml]%s}\n"


def renew(cache: Path, seconds: float) -> None:
    """Makes all answers in the cache older."""
    for path in cache.glob("*/answer-*"):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


def test_a_project_beside_a_local_origin_is_fetched_at_its_default_branch_and_at_refs(
    ours: Project, shared: Project, fetch: Fetch
) -> None:
    names = ["more", "theirs", "last"]
    assert ours.names(INCLUDE % "", fetching=fetch()) == names
    assert ours.names(INCLUDE % ", ref: main", fetching=fetch()) == names
    assert ours.names(INCLUDE % f", ref: {shared.git('rev-parse', 'HEAD')}", fetching=fetch()) == names
    assert ours.names(INCLUDE % ", ref: v1", fetching=fetch()) == ["more", "older", "last"]
    assert ours.names(INCLUDE % f", ref: {shared.git('rev-parse', 'v1^{}')}", fetching=fetch())[1] == "older"


def test_a_file_may_include_an_older_version_of_itself_but_not_itself(
    ours: Project, shared: Project, served: Path, fetch: Fetch
) -> None:
    text = "include: {project: group/ci, ref: %s, file: ci/jobs.yml}\n"
    shared.write("ci/jobs.yml", text % "v1" + "newer: {script: [x]}\n")
    publish(shared, served, "group/ci")
    assert ours.names(text % "main", fetching=fetch()) == ["more", "older", "newer"]
    shared.write("ci/jobs.yml", text % "main")
    publish(shared, served, "group/ci")
    (problem,) = ours.problems(text % "main", fetching=fetch(freshness=Freshness(refresh=True)))
    assert "group/ci:ci/jobs.yml includes itself" in problem


def test_only_the_files_that_are_read_come_from_a_server_that_can_leave_out_the_others(
    ours: Project, shared: Project, served: Path, fetch: Fetch, tmp_path: Path
) -> None:
    ours.names(INCLUDE % "", fetching=fetch())
    size = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert size < 50_000, "unrelated.bin is 400 KB"
    publish(shared, served, "group/whole", partial=False)
    assert "theirs" in ours.names(INCLUDE.replace("group/ci", "group/whole") % "", fetching=fetch())


def test_the_user_s_repository_is_left_as_it_is(ours: Project, fetch: Fetch) -> None:
    ours.write(".gitlab-ci.yml", INCLUDE % "")
    before = {path: path.stat().st_mtime_ns for path in ours.root.rglob("*")}
    ours.names(fetching=fetch())
    assert {path: path.stat().st_mtime_ns for path in ours.root.rglob("*")} == before


def test_every_file_that_was_read_is_recorded_with_its_commit(ours: Project, shared: Project, fetch: Fetch) -> None:
    fetching = fetch()
    compiled = ours.compile(INCLUDE % ", ref: main", fetching=fetching)
    assert compiled.sources is fetching.sources
    commit = shared.git("rev-parse", "HEAD")
    found = [(record.file, record.provenance.project, record.provenance.commit) for record in fetching.sources]
    assert found == [
        (".gitlab-ci.yml", "", ""),
        ("ci/jobs.yml", "group/ci", commit),
        ("ci/more.yml", "group/ci", commit),
        ("ci/even.yml", "group/ci", commit),
        ("ci/last.yml", "group/ci", commit),
    ]
    assert {record.provenance.lock_key for record in fetching.sources} == {"", "group/ci@main"}


def test_a_branch_is_asked_again_after_a_minute_and_at_once_with_refresh(
    ours: Project, shared: Project, served: Path, fetch: Fetch, tmp_path: Path
) -> None:
    def names(freshness: Freshness | None = None) -> list[str]:
        return ours.names(INCLUDE % ", ref: main", fetching=fetch(freshness=freshness))

    assert names() == ["more", "theirs", "last"]
    shared.write("ci/jobs.yml", "newer: {script: [x]}\n")
    publish(shared, served, "group/ci")
    assert names() == ["more", "theirs", "last"]
    assert names(Freshness(refresh=True)) == ["newer", "last"]
    shared.write("ci/jobs.yml", "newest: {script: [x]}\n")
    publish(shared, served, "group/ci")
    renew(tmp_path / "cache", cached_project.FRESH_SECONDS - 30)
    assert names() == ["newer", "last"]
    renew(tmp_path / "cache", 31)
    assert names(Freshness(offline=True)) == ["newer", "last"]
    assert names() == ["newest", "last"]


def test_offline_everything_comes_from_the_cache_and_what_is_missing_is_named(
    ours: Project, served: Path, fetch: Fetch
) -> None:
    ours.names(INCLUDE % "", fetching=fetch())
    served.rename(served.parent / "gone")
    offline = Freshness(offline=True)
    (served / "group" / "ci.git").mkdir(parents=True)
    assert ours.names(INCLUDE % "", fetching=fetch(freshness=offline)) == ["more", "theirs", "last"]
    (missing,) = ours.problems(INCLUDE % ", ref: v1", fetching=fetch(freshness=offline))
    assert missing.startswith(".gitlab-ci.yml:1: include: group/ci at 'v1' of file://")
    assert "was never fetched, and --offline is set" in missing
    (file,) = ours.problems("include: {project: group/ci, file: ci/other.yml}\n", fetching=fetch(freshness=offline))
    assert "ci/other.yml of group/ci was never fetched, and --offline is set; run once without it" in file


def test_a_lock_file_holds_a_branch_to_its_commit(ours: Project, shared: Project, fetch: Fetch) -> None:
    locked = {"group/ci@main": Pin(commit=shared.git("rev-parse", "v1^{}"))}
    assert ours.names(INCLUDE % ", ref: main", fetching=fetch(locked=locked)) == ["more", "older", "last"]
    (problem,) = ours.problems(INCLUDE % ", ref: v1", fetching=fetch(locked=locked))
    assert "group/ci@v1 is not in .gitlab-ci.lock.yml; add it: longshore lock" in problem


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ("{project: group/ci, file: ci/jobs.yml, ref: v9}", "group/ci has no branch, tag or commit 'v9' (file://"),
        ("{project: group/ci, file: ci/jobs.yml, ref: abcdef0}", "write all 40 digits of a commit"),
        ("{project: group/ci, file: ci/jobs.yml, ref: '--upload-pack=x'}", "can't be the name of a branch"),
        ("{project: group/ci, file: ci/jobs.yml, ref: 'a:b'}", "can't be the name of a branch"),
        ("{project: group/ci, file: ci/josb.yml}", "there is no file 'group/ci:ci/josb.yml'; did you mean 'ci/jobs"),
        ("{project: group/none, file: ci/jobs.yml}", "there is no group/none or group/none.git in "),
        ("{project: ../ci, file: ci/jobs.yml}", "'../ci' is not the path of a project"),
        ("{project: '-x/ci', file: ci/jobs.yml}", "'-x/ci' is not the path of a project"),
    ],
)
def test_what_is_missing_on_the_server_is_named(ours: Project, fetch: Fetch, include: str, message: str) -> None:
    (problem,) = ours.problems(f"\ninclude:\n  - {include}\n", fetching=fetch())
    assert problem.startswith(".gitlab-ci.yml:2: include[0]")
    assert message in problem


def test_without_a_remote_the_server_has_to_be_named(
    project: Project, served: Path, shared: Project, fetch: Fetch
) -> None:
    project.commit()
    (problem,) = project.problems(INCLUDE % "", fetching=fetch())
    assert "name it: --server URL" in problem
    assert "theirs" in project.names(INCLUDE % "", fetching=fetch(server=str(served)))
    assert "theirs" in project.names(INCLUDE % "", fetching=fetch(server=f"file://{served}"))


def test_a_mapped_directory_wins_over_the_server(ours: Project, tmp_path: Path, fetch: Fetch) -> None:
    mapped = Project(tmp_path / "mapped")
    mapped.write("ci/jobs.yml", "mapped: {script: [x]}\n")
    mapped.write("ci/last.yml", "last: {script: [x]}\n")
    names = ours.names(INCLUDE % "", fetching=fetch(), projects={"group/ci": mapped.root})
    assert names == ["mapped", "last"]


def test_rules_look_for_files_of_a_fetched_project(ours: Project, fetch: Fetch) -> None:
    text = """
        job:
          script: [x]
          rules: [{exists: {paths: [%s], project: group/ci, ref: v1}}]
        other: {script: [x]}
        """
    assert ours.names(text % "ci/*.yml", fetching=fetch()) == ["job", "other"]
    assert ours.names(text % "gone.yml", fetching=fetch()) == ["other"]


def test_templates_come_from_gitlab_s_project_at_a_fixed_release(
    ours: Project, served: Path, tmp_path: Path, fetch: Fetch
) -> None:
    gitlab = Project(tmp_path / "gitlab")
    gitlab.write("lib/gitlab/ci/templates/Jobs/Build.gitlab-ci.yml", "build: {script: [x]}\n")
    gitlab.commit()
    gitlab.git("tag", Templates().ref)
    publish(gitlab, served, "gitlab-org/gitlab")
    ours.git("config", "--file", str(tmp_path / "gitconfig"), f"url.file://{served}/.insteadOf", "https://gitlab.com/")
    text = "include: {template: Jobs/%s.gitlab-ci.yml}\n"
    assert ours.names(text % "Build", fetching=fetch()) == ["build"]
    gitlab.git("tag", "-f", Templates().ref, "main")
    gitlab.write("lib/gitlab/ci/templates/Jobs/Build.gitlab-ci.yml", "newer: {script: [x]}\n")
    publish(gitlab, served, "gitlab-org/gitlab")
    renew(tmp_path / "cache", 1e6)
    assert ours.names(text % "Build", fetching=fetch()) == ["build"], "a release never moves, so it is asked for once"
    copy = Templates(f"file://{served}/gitlab-org/gitlab.git", "main")
    assert ours.names(text % "Build", fetching=fetch(templates=copy)) == ["newer"]
    gone = Templates(copy.address, "gone")
    assert "name a ref that it has: --templates REF" in ours.problems(text % "Build", fetching=fetch(templates=gone))[0]
    (problem,) = ours.problems(text % "Buidl", fetching=fetch(templates=copy))
    assert "did you mean 'lib/gitlab/ci/templates/Jobs/Build.gitlab-ci.yml'?" in problem


@pytest.fixture
def components(served: Path, tmp_path: Path) -> dict[str, str]:
    """A project `group/parts` with a component `part`; the commits of its refs."""
    parts = Project(tmp_path / "parts")
    commits = {}
    for tag in ("v1.2.0", "1.2.9", "1.10.0", "2.0.0-rc.1", "release"):
        name = "$[[ component.name ]]"
        said = "$[[ component.version ]] $[[ component.reference ]] $[[ component.sha ]]"
        parts.write("templates/part/template.yml", f'spec:\n---\n"{name}": {{script: ["{tag}: {said}"]}}\n')
        parts.commit(tag)
        parts.git("tag", tag)
        commits[tag] = parts.git("rev-parse", "HEAD")
    publish(parts, served, "group/parts")
    return commits | {"main": parts.git("rev-parse", "HEAD")}


@pytest.mark.parametrize(
    ("reference", "tag", "version"),
    [
        ("~latest", "1.10.0", "1.10.0"),
        ("1", "1.10.0", "1.10.0"),
        ("1.2", "1.2.9", "1.2.9"),
        ("v1.2.0", "v1.2.0", "v1.2.0"),
        ("2.0.0-rc.1", "2.0.0-rc.1", "2.0.0-rc.1"),
        ("release", "release", ""),
        ("main", "release", ""),
        ("SHA", "1.2.9", ""),
    ],
)
def test_versions_of_a_component_are_those_of_the_catalog(
    ours: Project, components: dict[str, str], fetch: Fetch, reference: str, tag: str, version: str
) -> None:
    written = components[tag] if reference == "SHA" else reference
    commit = components["main" if reference == "main" else tag]
    job = ours.job(f"include: {{component: $CI_SERVER_FQDN/group/parts/part@{written}}}\n", "part", fetching=fetch())
    assert job.script == [f"{tag}: {version} {written} {commit}"]


def test_a_version_that_no_tag_has_is_an_error(ours: Project, components: dict[str, str], fetch: Fetch) -> None:
    text = "include: {component: $CI_SERVER_FQDN/group/%s@%s}\n"
    (partial,) = ours.problems(text % ("parts/part", "3"), fetching=fetch())
    assert "group/parts has no branch, tag or commit '3'" in partial
    (latest,) = ours.problems(text % ("ci/part", "~latest"), fetching=fetch())
    assert "group/ci has no released version: no tag like 1.0.0" in latest


def test_a_component_of_another_server_comes_from_there(
    ours: Project, components: dict[str, str], served: Path, tmp_path: Path, fetch: Fetch
) -> None:
    config = str(tmp_path / "gitconfig")
    ours.git("config", "--file", config, f"url.file://{served}/.insteadOf", "https://other.invalid:8443/")
    fetching = fetch(allow_local=True)  # or its name would be looked up
    assert ours.names("include: {component: other.invalid:8443/group/parts/part@1}\n", fetching=fetching) == ["part"]
    assert fetching.sources[1].provenance.lock_key == "other.invalid:8443/group/parts@1"


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1", "[::1]:1", "169.254.169.254"])
def test_a_component_s_server_is_not_this_machine_unless_that_is_allowed(
    ours: Project, fetch: Fetch, host: str
) -> None:
    text = f"include: {{component: '{host}/group/parts/part@main'}}\n"
    (problem,) = ours.problems(text, fetching=fetch())
    assert "group/parts is not fetched: " in problem
    assert "an address of this machine or its network link; --allow-local-includes permits it" in problem
    if host.endswith(":1"):
        (allowed,) = ours.problems(text, fetching=fetch(allow_local=True))
        assert f"fetching group/parts (main) from https://{host}/group/parts.git: unable to access" in allowed


def test_a_server_that_sends_too_much_is_cut_off(
    ours: Project, shared: Project, served: Path, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_project, "MAX_TREE_BYTES", 1 << 20)
    shared.write("large.bin", os.urandom(2 << 20).hex())
    publish(shared, served, "group/large", partial=False)
    (problem,) = ours.problems("include: {project: group/large, file: a.yml}\n", fetching=fetch())
    assert "the server sends more than 1 MB" in problem


def test_a_file_that_is_too_large_is_refused(ours: Project, shared: Project, served: Path, fetch: Fetch) -> None:
    shared.write("ci/huge.yml", "#" * (MAX_FILE_BYTES + 1))
    publish(shared, served, "group/ci")
    (problem,) = ours.problems("include: {project: group/ci, file: ci/huge.yml}\n", fetching=fetch())
    assert f"group/ci:ci/huge.yml is larger than {MAX_FILE_BYTES >> 20} MB" in problem


def test_the_project_itself_can_be_included_at_another_commit(ours: Project, served: Path, fetch: Fetch) -> None:
    ours.write("ci/own.yml", "older: {script: [x]}\n")
    publish(ours, served, "group/app")
    ours.write("ci/own.yml", "newer: {script: [x]}\n")
    text = "include: [{project: $CI_PROJECT_PATH, ref: main, file: ci/own.yml}, ci/own.yml]\n"
    assert ours.names(text, fetching=fetch()) == ["older", "newer"]


def test_a_cache_that_can_t_be_written_is_told(ours: Project, fetch: Fetch, cache: Path) -> None:
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file")
    (problem,) = ours.problems(INCLUDE % "", fetching=fetch())
    assert f"the cache of included projects can't be written: {cache}" in problem


def test_two_compilations_fetch_from_one_project_at_a_time(ours: Project, fetch: Fetch) -> None:
    ours.write(".gitlab-ci.yml", INCLUDE % ", ref: main")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: ours.names(fetching=fetch(freshness=Freshness(refresh=True))), range(8)))
    assert found == [["more", "theirs", "last"]] * 8
