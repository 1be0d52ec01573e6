"""Symbolic and hard links in workspaces, artifacts, caches and reports, and patterns that lead through them."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from daemon.executors.base import Dependencies
from daemon.executors.docker.executor import DockerExecutor
from protocol.plan import ArtifactsSpec, CacheSpec, ImageSpec
from tests.support.docker_jobs import EndedJob, Ran, run_job, tar_of
from tests.support.images import BUSYBOX, DEBIAN
from tests.support.plans import assignment

USERS = [ImageSpec(name=DEBIAN), ImageSpec(name=DEBIAN, user="4321:4321")]
ABOVE = ("../../elsewhere/x", "../../../../../../etc", "..", "../project2", "/../../x")
"""Targets above the project directory, some of them the engine's to refuse."""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where collected files go."""
    path = tmp_path / "scratch"
    path.mkdir()
    return path


def links_tar(path: Path, links: Mapping[str, str], files: Mapping[str, str] | None = None) -> Path:
    """A gzipped tar of links and files; directories are not in it."""
    tar_of(path.with_suffix(".plain"), files or {})
    with tarfile.open(path.with_suffix(".plain"), "a") as tar:
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return path.with_suffix(".plain")


def left(executor: DockerExecutor, scratch: Path, spec: ArtifactsSpec, *commands: str) -> Ran:
    """A job that leaves `spec`."""
    ran = run_job(executor, assignment(*commands, image=DEBIAN, artifacts=spec), scratch=scratch)
    assert ran.outcome.exit_code == 0, ran.log
    return ran


def files(ran: Ran) -> dict[str, str]:
    """What is in its archive but directories."""
    return {name: content for name, content in ran.archive().items() if not name.endswith("/")}


@pytest.mark.parametrize("image", USERS, ids=["root", "another user"])
def test_links_that_lead_out_of_the_project_travel_as_they_are(
    executor: DockerExecutor, scratch: Path, tmp_path: Path, image: ImageSpec
) -> None:
    links = {f"{where}/l{number}": target for where in ("a/b", "w") for number, target in enumerate(ABOVE)}
    workspace = links_tar(tmp_path / "w.tar", links, {f"{'n' * 50}{number}": "x" * 900 for number in range(90)})
    show = 'for l in */l? */*/l?; do echo "$l $(readlink "$l")"; done; stat -c %u:%g a a/b w a/b/l0'
    spec = ArtifactsSpec(paths=["a", "w"])
    made = run_job(executor, assignment(show, image=image, artifacts=spec), workspace=workspace, scratch=scratch)
    expected = [f"{name} {target}" for name, target in sorted(links.items(), key=lambda link: link[0].count("/"))]
    owner = "4321:4321" if image.user else "0:0"
    assert made.lines[1:] == [*expected, *[owner] * 4]
    (archive,) = made.collected
    cache = CacheSpec(key="k", paths=["a", "w"])
    keeps = assignment("true", image=image, caches=[cache])
    run_job(executor, keeps, dependencies=Dependencies([], [archive.path]), scratch=scratch)
    assert run_job(executor, assignment(show, image=image, caches=[cache])).lines[1:] == [*expected, *[owner] * 4]


@pytest.mark.parametrize("image", USERS, ids=["root", "another user"])
def test_the_later_of_two_archives_wins_and_nothing_is_written_through_a_link_of_the_earlier(
    executor: DockerExecutor, tmp_path: Path, image: ImageSpec
) -> None:
    targets = ["/etc", "../../../etc", "real", "nowhere", "out0"]
    link = links_tar(
        tmp_path / "1.tar", {f"out{number}": target for number, target in enumerate(targets)}, {"real/kept": ""}
    )
    below = {f"out{number}/{name}": "mine" for number in range(len(targets)) for name in ("hostname", "sub/f")}
    directory = tar_of(tmp_path / "2.tar", below)
    show = 'for out in out?; do stat -c %F $out; cat $out/hostname; done; ls real; test "$(cat /etc/hostname)" != mine'
    ran = run_job(executor, assignment(show, image=image), dependencies=Dependencies([], [link, directory]))
    assert ran.lines[1:] == ["directory", *["minedirectory"] * (len(targets) - 1), "minekept"]
    assert ran.outcome.exit_code == 0
    job = assignment("for out in out?; do readlink $out; done; ls real", image=image)
    ran = run_job(executor, job, dependencies=Dependencies([], [directory, link]))
    assert ran.lines[1:] == [*targets, "kept"]


@pytest.mark.parametrize("image", USERS, ids=["root", "another user"])
def test_a_file_takes_the_place_of_an_earlier_archive_s_directory_and_the_reverse(
    executor: DockerExecutor, tmp_path: Path, image: ImageSpec
) -> None:
    directory = tar_of(tmp_path / "1.tar", {"out/": "", "out/sub/": "", "out/sub/f": "deep\n", "first": ""})
    file = tar_of(tmp_path / "2.tar", {"out": "flat\n", "second": ""})
    shown = []
    for order in ([directory, file], [file, directory], [directory, file, directory]):
        job = assignment("cat out/sub/f || cat out; ls", image=image)
        shown.append(run_job(executor, job, dependencies=Dependencies([], order)).lines[-4:])
    assert [lines[0] for lines in shown] == ["flat", "deep", "deep"]
    assert [lines[1:] for lines in shown] == [["first", "out", "second"]] * 3


@pytest.mark.parametrize("image", USERS, ids=["root", "another user"])
def test_what_was_taken_from_below_a_link_goes_back_through_the_link_of_the_workspace(
    executor: DockerExecutor, tmp_path: Path, image: ImageSpec
) -> None:
    workspace = links_tar(tmp_path / "w.tar", {"lib": "src/lib"}, {"src/lib/kept": ""})
    archive = tar_of(tmp_path / "a.tar", {"lib/y.o": "o"})
    job = assignment("stat -c %F lib; ls lib/ src/lib; touch lib/new", image=image)
    ran = run_job(executor, job, workspace=workspace, dependencies=Dependencies([], [archive]))
    assert ran.lines[1:] == ["symbolic link", "lib/:", "kept", "y.o", "", "src/lib:", "kept", "y.o"]
    assert ran.outcome.exit_code == 0


def test_a_cache_with_a_link_where_the_workspace_has_a_directory_brings_the_link(
    executor: DockerExecutor, scratch: Path, tmp_path: Path
) -> None:
    workspace = tar_of(tmp_path / "w.tar", {"deps/": "", "deps/f": ""})
    spec = CacheSpec(key="k", paths=["deps"])
    job = assignment("rm -r deps; ln -s ../shared deps", caches=[spec])
    run_job(executor, job, workspace=workspace, scratch=scratch)
    again = run_job(executor, assignment("readlink deps", caches=[spec]), workspace=workspace)
    assert again.lines[1:] == ["../shared"]


TREE = (
    "mkdir -p src/lib/sub /tmp/o/pkg /tmp/o/deep/er && ln -s src/lib lib && ln -s /tmp/o logs && ln -s logs logs2",
    "ln -s ../../../tmp/o up; ln -s loop loop; ln -s a1 a2; ln -s a2 a1; ln -s nowhere gone; ln -s lib/y.o file",
    "echo y >lib/y.o; echo s >lib/sub/s.o; echo t >/tmp/o/pkg/t.xml; echo u >/tmp/o/deep/er/t.xml; echo tmp >/tmp/o/x",
    "mkdir dir && ln -s ../lib dir/lib && ln -s .. dir/back && ln -s ../.. src/lib/back && ln -s /tmp/o lib/away",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndedJob]:
    """A job that has made the tree above."""
    job = EndedJob(tmp_path_factory.mktemp("tree"), assignment(*TREE, image=DEBIAN))
    yield job
    job.close()


@pytest.mark.parametrize(
    ("paths", "exclude", "expected"),
    [
        (["lib/*.o"], [], {"lib/y.o": "y\n"}),
        (["lib/y.o"], [], {"lib/y.o": "y\n"}),
        (["lib/y.o", "dir/*.none"], [], {"lib/y.o": "y\n"}),
        (["lib/y.o", "**/*.none"], [], {"lib/y.o": "y\n"}),
        (["lib/sub/"], [], {"lib/sub/s.o": "s\n"}),
        (["lib/{y,z}.o", "lib/sub/?.o"], [], {"lib/y.o": "y\n", "lib/sub/s.o": "s\n"}),
        (["logs/**/*.xml"], [], {"logs/pkg/t.xml": "t\n", "logs/deep/er/t.xml": "u\n"}),
        (["logs/**/*.xml"], ["logs/deep/**"], {"logs/pkg/t.xml": "t\n"}),
        (["logs/**"], ["logs/**/*.xml"], {"logs/x": "tmp\n"}),
        (["logs2/*/t.xml"], [], {"logs2/pkg/t.xml": "t\n"}),
        (["up/pkg/*"], [], {"up/pkg/t.xml": "t\n"}),
        (["./logs/../lib/*.o"], [], {"lib/y.o": "y\n"}),
        (["dir/lib/*.o", "*/lib/sub/*"], [],
         {"dir/lib/y.o": "y\n", "dir/lib/sub/s.o": "s\n", "src/lib/sub/s.o": "s\n"}),
        (["lib/away/pkg/*.xml"], [], {"lib/away/pkg/t.xml": "t\n"}),
        (["{lib,logs}/{y.o,x}"], [], {"lib/y.o": "y\n", "logs/x": "tmp\n"}),
        (["**/*.o"], [], {"src/lib/y.o": "y\n", "src/lib/sub/s.o": "s\n"}),
        (["dir/**"], [], {"dir/lib": "-> ../lib", "dir/back": "-> .."}),
        (["lib/**/*.xml", "lib/back/*.none"], [], {}),
        (["lib", "logs/"], [], {"lib": "-> src/lib", "logs": "-> /tmp/o"}),
        (["logs", "logs/pkg/*"], [], {"logs/pkg/t.xml": "t\n"}),
        (["loop", "a1", "gone", "file"], [],
         {"loop": "-> loop", "a1": "-> a2", "gone": "-> nowhere", "file": "-> lib/y.o"}),
        (["loop/*", "a1/x", "gone/*", "file/*", "file/x", "lib/y.o/z/*", "dir/loop/../../lib/y.o"], [],
         {"lib/y.o": "y\n"}),
        (["n" * 300, "n" * 300 + "/*", "lib/y.o"], [], {"lib/y.o": "y\n"}),
    ],
)  # fmt: skip
def test_a_pattern_leads_through_links_to_directories_but_not_within_its_double_star(
    tree: EndedJob, scratch: Path, paths: list[str], exclude: list[str], expected: dict[str, str]
) -> None:
    ran = tree.leaves(scratch, ArtifactsSpec(paths=paths, exclude=exclude))
    assert (files(ran) if ran.collected else {}) == expected


def test_caches_lead_through_links_as_artifacts_do(executor: DockerExecutor, scratch: Path) -> None:
    spec = CacheSpec(key="k", paths=["lib/*.o", "logs/**/*.xml"])
    ran = run_job(executor, assignment(*TREE, caches=[spec]), scratch=scratch)
    assert ran.warnings == []
    again = run_job(executor, assignment("find . -type f | sort", caches=[spec]))
    assert again.lines[1:] == ["./lib/y.o", "./logs/deep/er/t.xml", "./logs/pkg/t.xml"]


def test_reports_are_found_beyond_links_to_directories_and_to_files(executor: DockerExecutor, scratch: Path) -> None:
    spec = ArtifactsSpec(dotenv=["env"], junit=["logs/**/*.xml", "last.xml", "gone.xml", "loop", "reports/*.xml"])
    ran = left(
        executor,
        scratch,
        spec,
        *TREE,
        "echo A=1 >/tmp/o/env; ln -s logs2/env env; ln -s hop.xml last.xml; ln -s logs/pkg/t.xml hop.xml",
        "ln -s nothing gone.xml; mkdir reports; echo 1 >reports/1.xml; ln reports/1.xml reports/2.xml",
    )
    assert {(one.kind, one.name, one.path.read_text()) for one in ran.collected} == {
        ("dotenv", "env", "A=1\n"),
        ("junit", "logs/pkg/t.xml", "t\n"),
        ("junit", "logs/deep/er/t.xml", "u\n"),
        ("junit", "last.xml", "t\n"),
        ("junit", "reports/1.xml", "1\n"),
        ("junit", "reports/2.xml", "1\n"),
    }
    assert ran.warnings == [
        "gone.xml: a symbolic link that leads to no file",
        "loop: a symbolic link that leads to no file",
    ]


def test_hard_links_to_symbolic_links_travel_as_symbolic_links(executor: DockerExecutor, scratch: Path) -> None:
    ran = left(
        executor,
        scratch,
        ArtifactsSpec(paths=["d", "e"]),
        "mkdir -p d/sub e; echo x >d/f; ln -s ../f d/sub/l; ln -s ../../up d/up; cp -al d e/",
    )
    found = files(ran)
    assert found["e/d/sub/l"] == "-> ../f"
    assert found["e/d/up"] == "-> ../../up"
    (archive,) = ran.collected
    job = assignment("cat d/f e/d/f e/d/sub/l; readlink e/d/up", image=BUSYBOX)
    assert run_job(executor, job, dependencies=Dependencies([], [archive.path])).lines[1:] == [
        "x",
        "x",
        "x",
        "../../up",
    ]
