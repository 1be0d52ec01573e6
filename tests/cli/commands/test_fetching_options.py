"""`--server`, `--templates`, `--refresh` and `--offline`, on the command line and in the settings files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.command_line import run
from tests.support.git_servers import publish
from tests.support.project import Project

FILE = "include: [{project: group/ci, file: jobs.yml}, {template: Jobs/Build.gitlab-ci.yml}]\n"


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A directory with a project `group/ci` and a copy of GitLab's own."""
    for name, path in (("group/ci", "jobs.yml"), ("mirror/gitlab", "lib/gitlab/ci/templates/Jobs/Build.gitlab-ci.yml")):
        other = Project(tmp_path / name)
        other.write(path, f"from-{name.replace('/', '-')}: {{script: [x]}}\n")
        publish(other, tmp_path / "served", name)
    return tmp_path / "served"


def plan(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder = project.root.parent
    return run(
        project.root,
        "plan",
        *arguments,
        environment={
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "LONGSHORE_CONFIG": str(folder / "config.toml"),
            "GIT_CONFIG_SYSTEM": os.devnull,
        },
    )


def test_servers_come_from_options_or_from_the_user_s_settings_and_offline_asks_none(
    project: Project, served: Path
) -> None:
    project.write(".gitlab-ci.yml", FILE)
    templates = f"file://{served}/mirror/gitlab.git@main"
    done = plan(project, "--server", str(served), "--templates", templates)
    assert (done.returncode, done.stderr) == (0, "")
    assert "from-group-ci" in done.stdout
    assert "from-mirror-gitlab" in done.stdout
    settings = project.root.parent / "config.toml"
    settings.write_text(f'[run]\nserver = "file://{served}"\ntemplates = "{templates}"\n')
    (served / "group" / "ci.git" / "HEAD").unlink()
    assert plan(project, "--offline").stdout == done.stdout
    refreshed = plan(project, "--refresh")
    assert refreshed.returncode == 2
    assert ".gitlab-ci.yml:1: include[0]: fetching group/ci from file://" in refreshed.stderr


def test_a_project_s_own_settings_name_no_server(project: Project, served: Path) -> None:
    project.write(".gitlab-ci.yml", FILE)
    project.write(".longshore.toml", f'[run]\nserver = "{served}"\n')
    done = plan(project)
    assert done.returncode == 2
    assert "[run] server: not allowed in a project's file" in done.stderr


def test_options_that_contradict_each_other_or_name_no_server_are_refused(project: Project) -> None:
    project.write(".gitlab-ci.yml", FILE)
    both = plan(project, "--refresh", "--offline")
    assert (both.returncode, both.stdout) == (2, "")
    assert both.stderr.startswith("longshore: --refresh asks the servers and --offline asks none")
    nowhere = plan(project, "--server", "nowhere")
    assert nowhere.returncode != 0
    assert nowhere.stderr.startswith("longshore: 'nowhere' is no git server: write https://HOST")
