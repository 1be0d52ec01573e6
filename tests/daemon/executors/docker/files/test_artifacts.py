"""What a job leaves: artifacts by GitLab's patterns, reports, and nothing that was not asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.executors.base import Dependencies
from daemon.executors.docker.executor import DockerExecutor
from protocol.plan import ArtifactsSpec
from tests.support.docker_jobs import WORKER, EndedJob, contents, run_job, tar_of, tar_workspace, unpacked
from tests.support.images import BUSYBOX, ENTRYPOINT
from tests.support.plans import assignment, variables

TREE = (
    "mkdir -p build/a/b build/empty 'with space' && echo 1 >build/a/b/x.o && echo 2 >build/a/y.o && echo 3 >build/z.o",
    "echo 4 >build/z.txt; echo 5 >'with space/é日.txt'; echo 6 >.hidden; ln -s a/b build/link",
)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where collected files go."""
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndedJob]:
    """A job that has made the tree above."""
    job = EndedJob(tmp_path_factory.mktemp("tree"), assignment(*TREE, variables=variables(DIR="build")))
    yield job
    job.close()


@pytest.mark.parametrize(
    ("paths", "exclude", "expected"),
    [
        (["build/"], [], {"a/b/x.o", "a/y.o", "z.o", "z.txt", "link", "empty/", "a/", "a/b/"}),
        (["build/**/*.o"], [], {"a/b/x.o", "a/y.o", "z.o", "a/", "a/b/"}),
        (["build/*.o", "build/*.txt"], ["**/z.t*"], {"z.o"}),
        (["build"], ["build/a/**"], {"z.o", "z.txt", "link", "empty/"}),
        (["./build/{z,nothing}.*", "$CI_PROJECT_DIR/build/a/[xy].o"], [], {"z.o", "z.txt", "a/y.o", "a/"}),
        (["$DIR/z.o"], [], {"z.o"}),
    ],
)
def test_paths_are_what_gitlab_s_patterns_say(
    tree: EndedJob, scratch: Path, paths: list[str], exclude: list[str], expected: set[str]
) -> None:
    ran = tree.leaves(scratch, ArtifactsSpec(paths=paths, exclude=exclude))
    assert ran.archive().keys() - {"build/"} == {f"build/{name}" for name in expected}


def test_links_odd_names_and_hidden_files_are_kept(tree: EndedJob, scratch: Path) -> None:
    found = tree.leaves(scratch, ArtifactsSpec(paths=["**"])).archive()
    assert found["with space/é日.txt"] == "5\n"
    assert found[".hidden"] == "6\n"
    assert found["build/link"] == "-> a/b"


def test_what_matches_nothing_is_a_warning_and_not_a_failure(tree: EndedJob, scratch: Path) -> None:
    spec = ArtifactsSpec(paths=["nothing/*.x", "build/z.o", "../outside", "/etc/passwd"])
    ran = tree.leaves(scratch, spec)
    assert ran.archive().keys() == {"build/z.o"}
    assert ran.warnings == [
        "../outside: not in the project directory",
        "/etc/passwd: not in the project directory",
        "nothing/*.x: no matching files",
    ]
    assert tree.leaves(scratch, ArtifactsSpec(paths=["nothing"])).collected == []


@pytest.mark.parametrize(
    ("when", "kept"), [("on_success", (True, False)), ("on_failure", (False, True)), ("always", (True, True))]
)
def test_artifacts_are_kept_when_they_are_due(
    tree: EndedJob, scratch: Path, when: str, kept: tuple[bool, bool]
) -> None:
    for succeeded, expected in zip((True, False), kept, strict=True):
        spec = ArtifactsSpec(paths=["build/z.o"], when=when)  # type: ignore[arg-type]
        assert bool(tree.leaves(scratch, spec, succeeded=succeeded).collected) is expected


def test_a_job_that_failed_leaves_what_is_due_then(executor: DockerExecutor, scratch: Path) -> None:
    ran = run_job(
        executor,
        assignment(*TREE, "false", artifacts=ArtifactsSpec(paths=["build/z.o"], when="on_failure")),
        scratch=scratch,
    )
    assert ran.archive() == {"build/z.o": "3\n"}


def test_untracked_is_all_that_was_not_in_the_workspace(
    executor: DockerExecutor, scratch: Path, tmp_path: Path
) -> None:
    workspace = tar_of(tmp_path / "w.tar", {"old": "", "dir/old": "", "é": ""})
    job = assignment(
        "echo changed >old; echo new >dir/new; echo log >dir/x.log; mkdir .git; echo g >.git/config",
        artifacts=ArtifactsSpec(untracked=True, exclude=["**/*.log"]),
    )
    found = run_job(executor, job, workspace=workspace, scratch=scratch).archive()
    assert {name for name in found if not name.endswith("/")} == {"dir/new"}


def test_hard_links_have_their_data_whatever_is_taken(executor: DockerExecutor, scratch: Path) -> None:
    ran = run_job(
        executor,
        assignment("mkdir d; echo data >a; ln a d/b; ln a d/c", artifacts=ArtifactsSpec(paths=["d"])),
        scratch=scratch,
    )
    found = ran.archive()
    assert found["d/b"] == "data\n"
    assert found["d/c"] in ("data\n", "-> d/b")


def test_devices_pipes_and_sockets_are_left_out(executor: DockerExecutor, scratch: Path) -> None:
    job = assignment(
        "mkdir d; mkfifo d/pipe; mknod d/device c 1 3; echo x >d/file", artifacts=ArtifactsSpec(paths=["d"])
    )
    ran = run_job(executor, job, scratch=scratch)
    assert ran.archive().keys() == {"d/", "d/file"}
    assert ran.warnings == ["d/device (and 1 more): left out, as it is a device or a pipe"]


def test_an_exclude_that_means_nothing_in_the_project_excludes_nothing_and_one_that_means_all_is_told(
    tree: EndedJob, scratch: Path
) -> None:
    for nothing in ("", "$UNSET", ".", "../x", "/etc/*", "build/"):
        ran = tree.leaves(scratch, ArtifactsSpec(paths=["build/z.*"], exclude=[nothing]))
        assert {"build/z.o", "build/z.txt"} <= ran.archive().keys()
    ran = tree.leaves(scratch, ArtifactsSpec(paths=["build/z.*"], exclude=["**/*"]))
    assert ran.collected == []
    assert ran.warnings == ["exclude removes all 2 matching files and directories"]


def test_odd_names_of_files_are_printable_in_warnings_and_reports(executor: DockerExecutor, scratch: Path) -> None:
    job = assignment(
        """n=$(printf 'a\\nb\\377\\033')""",
        'mkfifo "$n"; echo x >"$n.xml"; ln -s nowhere "$n.l.xml"; echo y >"$n.txt"',
        artifacts=ArtifactsSpec(paths=["a*"], junit=["*.xml"]),
    )
    ran = run_job(executor, job, scratch=scratch)
    assert [one.name for one in ran.collected] == ["artifacts", r"a\nb\xff\x1b.xml"]
    assert ran.warnings == [
        r"a\nb\xff\x1b: left out, as it is a device or a pipe",
        r"a\nb\xff\x1b.l.xml: a symbolic link that leads to no file",
    ]
    (archive, _) = ran.collected
    again = assignment("ls | wc -l; cat a*.txt", image=BUSYBOX)
    assert run_job(executor, again, dependencies=Dependencies([], [archive.path])).lines[1:] == ["3", "y"]


def test_an_archive_is_a_function_of_its_files(executor: DockerExecutor, scratch: Path) -> None:
    digests = set()
    for _ in range(2):
        job = assignment(
            "mkdir d; echo x >d/a; chmod 751 d; chmod 640 d/a; touch -d @1000000000 d/a d",
            image=ENTRYPOINT,
            artifacts=ArtifactsSpec(paths=["d"]),
        )
        (archive,) = run_job(executor, job, scratch=scratch).collected
        digests.add(hashlib.sha256(archive.path.read_bytes()).hexdigest())
        with unpacked(archive.path) as tar:
            members = {member.name: member for member in tar}
        assert members["d"].mode == 0o751
        assert members["d/a"].mode == 0o640
        assert members["d/a"].mtime == 1_000_000_000
        assert members["d/a"].uid == members["d/a"].gid == 0
        archive.path.unlink()
    assert len(digests) == 1


def test_artifacts_of_one_job_are_in_the_next_one_as_they_were(
    executor: DockerExecutor, tree: EndedJob, scratch: Path
) -> None:
    first = tree.leaves(scratch, ArtifactsSpec(paths=["build", "with space"], name="out-$CI_PROJECT_DIR"))
    (archive,) = first.collected
    assert archive.name == "out-/builds/group/project"
    job = assignment("cat build/a/b/x.o with*/*; readlink build/link; ls -d build/empty", image=ENTRYPOINT)
    second = run_job(executor, job, dependencies=Dependencies([], [archive.path]))
    assert second.lines[-4:] == ["1", "5", "a/b", "build/empty"]


def test_reports_are_files_by_themselves_however_the_job_ended(executor: DockerExecutor, scratch: Path) -> None:
    spec = ArtifactsSpec(
        dotenv=["build.env"], junit=["report-*.xml", "reports/**/*.xml"], unread={"sast": ["reports/x/*"]}
    )
    job = assignment(
        'echo A=1 >build.env; mkdir -p reports/x; for f in report-1 report-2 reports/x/3; do echo "<$f>" >$f.xml; done',
        "false",
        artifacts=spec,
    )
    ran = run_job(executor, job, scratch=scratch)
    assert [(one.kind, one.name, one.path.read_text()) for one in ran.collected] == [
        ("dotenv", "build.env", "A=1\n"),
        ("junit", "report-1.xml", "<report-1>\n"),
        ("junit", "report-2.xml", "<report-2>\n"),
        ("junit", "reports/x/3.xml", "<reports/x/3>\n"),
        ("sast", "reports/x/3.xml", "<reports/x/3>\n"),
    ]


def test_a_large_file_comes_whole(executor: DockerExecutor, scratch: Path) -> None:
    job = assignment("head -c 50000000 /dev/urandom >big; sha256sum big", artifacts=ArtifactsSpec(paths=["big"]))
    ran = run_job(executor, job, scratch=scratch)
    (archive,) = ran.collected
    with unpacked(archive.path) as tar:
        file = tar.extractfile("big")
        assert file is not None
        assert ran.lines[-1].startswith(hashlib.file_digest(file, "sha256").hexdigest())  # type: ignore[arg-type]


def test_a_malformed_pattern_is_told_and_takes_nothing_from_the_others(tree: EndedJob, scratch: Path) -> None:
    spec = ArtifactsSpec(paths=["build/[x", "build/*.o"], exclude=["{a", "build/y.*"], junit=["[", "build/z.txt"])
    ran = tree.leaves(scratch, spec)
    assert ran.archive().keys() - {"build/"} == {"build/z.o"}
    assert [one.name for one in ran.collected if one.kind == "junit"] == ["build/z.txt"]
    assert [warning.partition(":")[0] for warning in ran.warnings] == [
        f"bad file pattern {pattern!r}" for pattern in ("build/[x", "{a", "[")
    ]


def test_a_daemon_that_took_the_job_over_collects_the_same(
    executor: DockerExecutor, scratch: Path, tmp_path: Path
) -> None:
    job = assignment("echo x >new", artifacts=ArtifactsSpec(untracked=True))
    sandbox = executor.sandbox(job)
    sandbox.prepare(tar_workspace(tar_of(tmp_path / "w.tar", {"old": ""})))
    sandbox.release(Dependencies())
    sandbox.wait()
    other = DockerExecutor(WORKER, coordinator=WORKER, directory=tmp_path / "cache").sandbox(job)
    (archive,) = other.collect(scratch, succeeded=True)
    assert contents(archive.path) == {"new": "x\n"}
