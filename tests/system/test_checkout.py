"""A job's project directory is the repository, as git sees it where the run was started."""

from __future__ import annotations

import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.images import GIT
from tests.support.system import System, repository

IDENTITY = ["-c", "user.email=dev@example.com", "-c", "user.name=Dev", "-c", "protocol.file.allow=always"]
ASKED = (
    "git status --porcelain",
    "git describe --tags --always --dirty",
    "git log --format=%H -5",
    "git rev-parse HEAD",
    "git diff",
    "git diff --cached",
    "git ls-files -s",
)
"""Commands that print the same in a job as where the run was started."""


def git(root: Path, *arguments: str) -> str:
    """What a git command prints in `root`."""
    return subprocess.run(["git", *IDENTITY, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def answers(root: Path, commands: tuple[str, ...]) -> str:
    """What the commands print in `root`, each after its own line."""
    said = ""
    for command in commands:
        done = subprocess.run(["sh", "-c", command], cwd=root, check=True, capture_output=True, text=True)
        said += f"--- {command}\n{done.stdout}"
    return said


def pipeline(*commands: str, more: str = "") -> str:
    """A file whose only job prints what the commands print, between two lines."""
    lines = "".join(f"    - echo '--- {command}'; {command}\n" for command in commands)
    return f"job:\n  image: {GIT}\n{more}  script:\n    - set +e; echo BEGIN\n{lines}    - echo END\n"


def in_job(fleet: System, root: Path, *options: str) -> str:
    """What the job of a repository's pipeline prints between its two lines."""
    done = fleet.run(root, *options)
    assert done.status == 0, done.err + fleet.log(done.json["id"], "job")
    log = fleet.log(done.json["id"], "job").splitlines()
    said = [line for line in log[log.index("BEGIN") + 1 : log.index("END")] if not line.startswith("$ ")]
    return "\n".join(said) + "\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository of 30 commits with tags, on a branch, with a remote."""
    root = repository(tmp_path / f"p{uuid4().hex}", {".gitlab-ci.yml": pipeline(*ASKED), "a": "0\n", "b/c": "x\n"})
    git(root, "tag", "-a", "v0.9", "-m", "Old")
    for number in range(1, 30):
        (root / "a").write_text(f"{number}\n")
        git(root, "commit", "-qam", f"Change {number}")
        if number == 20:
            git(root, "tag", "-a", "v1.0", "-m", "First release")
    git(root, "remote", "add", "origin", "https://someone:password@git.example.com/group/project.git")
    return root


def test_git_says_in_a_job_what_it_says_where_the_run_was_started(fleet: System, root: Path) -> None:
    assert in_job(fleet, root) == answers(root, ASKED)
    (root / "a").write_text("changed\n")
    (root / "new file").write_text("new\n")
    (root / "b" / "staged").write_text("staged\n")
    git(root, "add", "b/staged")
    git(root, "rm", "-q", "--cached", "b/c")
    assert in_job(fleet, root) == answers(root, ASKED)


def test_history_is_as_deep_as_the_job_says(fleet: System, root: Path) -> None:
    asked = ("git rev-list --count HEAD", "git tag", "git rev-parse --is-shallow-repository")
    file = root / ".gitlab-ci.yml"
    for depth, expected in {"": "20\nv1.0\ntrue", "3": "3\n\ntrue", "0": "30\nv0.9\nv1.0\nfalse"}.items():
        file.write_text(pipeline(*asked, more=f"  variables: {{GIT_DEPTH: '{depth}'}}\n" if depth else ""))
        said = [line for line in in_job(fleet, root).splitlines() if not line.startswith("---")]
        assert said == expected.replace("\n\n", "\n").splitlines(), depth


@pytest.mark.parametrize("filter", ["blob:none", "tree:0"])
def test_a_partial_clone_stays_one_in_a_job(fleet: System, root: Path, filter: str) -> None:
    git(root, "config", "uploadpack.allowFilter", "true")
    partial = root.with_name(f"{root.name}-partial")
    git(root, "clone", "-q", f"--filter={filter}", root.as_uri(), str(partial))
    git(partial, "remote", "set-url", "origin", (root / "gone").as_uri())
    (partial / "a").write_text("changed\n")
    asked = (*ASKED, "git fsck --connectivity-only --no-dangling 2>&1", "git config remote.origin.promisor")
    for depth in ("0", "20"):
        (partial / ".gitlab-ci.yml").write_text(pipeline(*asked, more=f"  variables: {{GIT_DEPTH: '{depth}'}}\n"))
        assert in_job(fleet, partial) == answers(partial, asked)
    (partial / ".gitlab-ci.yml").write_text(pipeline("git show HEAD~5:a 2>&1 | grep -o promisor"))
    assert "promisor\n" in in_job(fleet, partial)


def test_a_job_finds_a_detached_head_its_branch_at_origin_and_nothing_of_the_user(fleet: System, root: Path) -> None:
    git(root, "branch", "other")
    git(root, "config", "user.secret", "mine")
    (root / "a").write_text("stashed\n")
    git(root, "stash")
    (root / ".git" / "hooks" / "post-checkout").write_text("#!/bin/sh\nexit 1\n")
    asked = (
        "git symbolic-ref -q HEAD",
        "git for-each-ref | cut -f 2",
        "git config --get-regexp user.*",
        "git remote -v",
        "git stash list; git reflog; ls .git/hooks",
    )
    (root / ".gitlab-ci.yml").write_text(pipeline(*asked))
    said = in_job(fleet, root).splitlines()
    url = "https://git.example.com/group/project.git"
    assert said == [
        f"--- {asked[0]}",
        f"--- {asked[1]}",
        "refs/remotes/origin/main",
        "refs/tags/v1.0",
        f"--- {asked[2]}",
        f"--- {asked[3]}",
        f"origin\t{url} (fetch)",
        f"origin\t{url} (push)",
        f"--- {asked[4]}",
        "ls: cannot access '.git/hooks': No such file or directory",
    ]


@pytest.mark.parametrize("strategy", ["none", "normal", "recursive"])
def test_submodules_are_as_the_strategy_says(fleet: System, tmp_path: Path, root: Path, strategy: str) -> None:
    inner = repository(tmp_path / "inner", {"deep": "deep\n"})
    outer = repository(tmp_path / "outer", {"file": "file\n"})
    git(outer, "submodule", "--quiet", "add", str(inner), "inner")
    git(outer, "commit", "-qm", "Add inner")
    git(root, "submodule", "--quiet", "add", str(outer), "outer")
    git(root, "submodule", "--quiet", "update", "--init", "--recursive")
    git(root, "commit", "-qm", "Add outer")
    asked = ("git submodule status --recursive", "git status --porcelain")
    more = f"  variables: {{GIT_SUBMODULE_STRATEGY: {strategy}}}\n"
    (root / ".gitlab-ci.yml").write_text(pipeline(*asked, "ls outer outer/inner 2>&1 | sort", more=more))
    git(root, "commit", "-qam", "Ask")
    said = in_job(fleet, root)
    there = answers(root, asked)
    if strategy == "recursive":
        assert said.startswith(there)
        assert "deep" in said.splitlines()
    else:
        ids = [line.split()[0] for line in there.splitlines() if " outer" in line]
        sign = "-" if strategy == "none" else ""
        assert f"{sign}{ids[0]} outer" in said.replace(" (heads/main)", "")
        assert "deep" not in said.splitlines()
        assert ("file" in said.splitlines()) == (strategy == "normal")


def test_a_user_of_the_image_s_own_owns_the_repository(fleet: System, root: Path) -> None:
    image = f"  image: {{name: {GIT}, docker: {{user: user}}}}\n"
    (root / ".gitlab-ci.yml").write_text(
        pipeline("id -un", "git status --porcelain").replace(f"  image: {GIT}\n", image)
    )
    git(root, "commit", "-qam", "Run as user")
    assert in_job(fleet, root) == "--- id -un\nuser\n--- git status --porcelain\n"


def test_an_image_without_git_and_a_job_without_sources_are_none_the_worse(fleet: System, root: Path) -> None:
    file = """
without: {image: longshore/busybox:test, script: ['test -d .git', 'test "$(cat a)" = 29']}
empty: {image: longshore/busybox:test, variables: {GIT_STRATEGY: none}, script: ['test -z "$(ls -A)"']}
unchecked:
  image: longshore/git:test
  variables: {GIT_CHECKOUT: "false"}
  script: ['test "$(ls -A)" = .git', 'git log -1']
"""
    (root / ".gitlab-ci.yml").write_text(file)
    done = fleet.run(root)
    assert done.status == 0, done.err
