"""What the settings files say, which of them wins, and what a project's own file can not do."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from cli.options.settings_files import PROJECT_FILE, settings_of
from protocol.errors import UsageError
from tests.support.system import Done, System


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's settings file, which is not there yet."""
    monkeypatch.delenv("LONGSHORE_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config" / "longshore" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository's folder."""
    (tmp_path / "project" / ".git").mkdir(parents=True)
    return tmp_path / "project"


@pytest.fixture
def client(tmp_path: Path, user_file: Path) -> System:
    """A folder for verbs that start nothing, and read the user's file."""
    (tmp_path / "system").mkdir()
    return System(tmp_path / "system", extra={"LONGSHORE_CONFIG": str(user_file)})


def values(verb: str, folder: Path | None = None) -> dict[str, Any]:
    return settings_of(verb, folder).defaults()


def test_without_files_nothing_is_said(user_file: Path, project: Path) -> None:
    for verb in ("run", "up", "worker", "coordinator"):
        assert values(verb, project) == {}


def test_a_worker_s_and_a_coordinator_s_tables_hold_wherever_one_runs(user_file: Path) -> None:
    user_file.write_text(
        """
        [worker]
        slots = 3
        label = ["a", "b"]
        allow = ["new-privileges", "volume:/cache"]
        cache-size = "2G"
        keep-caches = "never"
        name = "mine"
        [coordinator]
        keep-runs = "90 days"
        limit = ["jobs_per_run=5"]
        bind = "tcp://127.0.0.1:7701"
        """
    )
    shared = {
        "slots": 3,
        "labels": ("a", "b"),
        "allow": ("new-privileges", "volume:/cache"),
        "cache_limit": 2 << 30,
        "keep_caches": None,
    }
    kept = {"keep_runs": 90 * 86_400.0, "limits": ("jobs_per_run=5",)}
    assert values("worker") == shared | {"name": "mine"}
    assert values("coordinator") == kept | {"bind": "tcp://127.0.0.1:7701"}
    assert values("run") == shared | kept
    assert values("up") == shared | kept | {"bind": "tcp://127.0.0.1:7701"}


def test_the_nearer_setting_wins(user_file: Path, project: Path) -> None:
    user_file.write_text(
        f"""
        worker.slots = 1
        run.slots = 2
        [projects.{json.dumps(str(project))}.run]
        label = ["of the user for the project"]
        [projects."/elsewhere".run]
        plain = true
        """
    )
    assert values("run")["slots"] == 2
    assert values("up", project)["slots"] == 1
    (project / PROJECT_FILE).write_text('worker = {slots = 3, label = ["of the project"]}')
    assert values("run", project) == {"slots": 3, "labels": ("of the user for the project",)}
    assert values("up", project) == {"slots": 3, "labels": ("of the project",)}
    assert values("worker") == {"slots": 1}


def test_a_project_s_file_is_at_its_repository_s_root(user_file: Path, project: Path) -> None:
    (project / PROJECT_FILE).write_text("run.plain = true")
    (project / "ci" / "deep").mkdir(parents=True)
    assert values("run", project / "ci" / "deep") == {"plain": True}
    (project / "ci" / ".git").write_text("gitdir: elsewhere")
    assert values("run", project / "ci" / "deep") == {}


def test_a_project_can_not_allow_its_own_jobs_more(user_file: Path, project: Path) -> None:
    (project / PROJECT_FILE).write_text('worker.allow = ["privileged", "volume:/:/host"]')
    for verb in ("run", "up"):
        found = settings_of(verb, project)
        assert found.values == {}
        assert found.asked == ("privileged", "volume:/:/host")
    user_file.write_text('worker.allow = ["new-privileges"]')
    assert values("run", project) == {"allow": ("new-privileges",)}


def test_a_project_makes_what_keeps_its_jobs_in_stricter_but_not_weaker(user_file: Path, project: Path) -> None:
    user_file.write_text('worker = {pids-limit = 100, allow-image = ["alpine:*"], fresh-networks = true}')
    (project / PROJECT_FILE).write_text('worker = {pids-limit = 5000, allow-image = ["*"], fresh-networks = false}')
    assert values("run", project) == {"pids_limit": 100, "images": ("alpine:*",), "fresh_networks": True}
    user_file.write_text("")
    assert values("run", project) == {"pids_limit": 4096, "images": ("*",)}
    (project / PROJECT_FILE).write_text("worker = {pids-limit = 50, fresh-networks = true}")
    assert values("run", project) == {"pids_limit": 50, "fresh_networks": True}


@pytest.mark.parametrize(
    "text",
    [
        'coordinator.keep-runs = "1s"',
        'coordinator.database = "postgresql://elsewhere/x"',
        'coordinator.bind = "tcp://0.0.0.0:7700"',
        'up.bind = "tcp://0.0.0.0:7700"',
        'run.limit = ["jobs_per_run=1"]',
        'worker.cache-size = "1"',
        'worker.keep-caches = "1s"',
        'worker.coordinator = "tcp://elsewhere:7700"',
        'run.project = ["group/x=/home"]',
    ],
)
def test_what_reaches_beyond_a_project_is_not_for_its_file(user_file: Path, project: Path, text: str) -> None:
    (project / PROJECT_FILE).write_text(text)
    table, _, key = text.split(" = ")[0].partition(".")
    with pytest.raises(UsageError) as error:
        settings_of("run", project)
    wanted = f"{project / PROJECT_FILE}: [{table}] {key}: not allowed in a project's file; set it in {user_file}"
    assert str(error.value) == wanted


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[worker]\nslots = ?\n", "invalid TOML: Invalid value (at line 2, column 9)"),
        ("\xff", "invalid TOML: Invalid statement (at line 1, column 1)"),
        ("worker.lable = []", "[worker] lable: no such setting; did you mean label?"),
        ("worker.bogus = 1", "[worker] bogus: no such setting; valid: coordinator, name,"),
        ("[wroker]", "wroker: no such table; did you mean worker?"),
        ("slots = 1", "slots: no such table; valid: run, up, worker, coordinator, projects"),
        ("worker = 1", "worker: must be a table; write [worker] and its settings below"),
        ('worker.slots = "4"', "[worker] slots: '4' has the wrong type; write slots = 4"),
        ("worker.slots = true", "[worker] slots: True has the wrong type; write slots = 4"),
        ("worker.slots = 0", "[worker] slots: 0 is not in the range x>=1."),
        ('worker.tagged-only = "yes"', "[worker] tagged-only: 'yes' has the wrong type; write tagged-only = true"),
        ('worker.label = "a"', '[worker] label: must be a list; write label = ["...", "..."]'),
        ("worker.label = [1]", '[worker] label: 1 has the wrong type; write label = "..."'),
        ('worker.cache-size = "much"', "[worker] cache-size: 'much' is not a size; use '20G' or '500m'"),
        ('run.keep-runs = "soon"', "[run] keep-runs: 'soon' is not a duration; use"),
        ('worker.allow = ["root"]', "[worker] allow: unknown --allow 'root'; use privileged"),
        ('run.limit = ["jobs=1"]', "[run] limit: bad limit 'jobs=1'"),
        ("run.detach = true", "[run] detach: no such setting"),
        ('worker.join = "token"', "[worker] join: no such setting"),
        ("projects = 1", 'projects: write [projects."/path/to/project".run], and so on'),
        ("[projects.x.wroker]", "projects.'x'.wroker: no such table; did you mean worker?"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_error_with_its_place_and_mend(user_file: Path, text: str, told: str) -> None:
    user_file.write_text(text)
    with pytest.raises(UsageError) as error:
        settings_of("run", None)
    assert str(error.value).startswith(f"{user_file}: {told}")
    assert "\n" not in str(error.value)


def test_a_file_that_can_not_be_read_is_named(user_file: Path) -> None:
    user_file.mkdir()
    with pytest.raises(UsageError, match=f"can't read the settings in {user_file}: Is a directory"):
        settings_of("run", None)
    user_file.rmdir()
    os.mkfifo(user_file)
    with pytest.raises(UsageError, match=f"{user_file}: not a regular file"):
        settings_of("run", None)


def shown(system: System, folder: Path) -> dict[tuple[str, str], tuple[Any, str]]:
    """What `config --json` prints in a folder."""
    done: Done = system.command("config", "--json", cwd=folder)
    assert done.status == 0, done.err
    return {(row["verb"], row["setting"]): (row["value"], row["from"]) for row in done.json}


def test_config_shows_each_setting_and_where_it_comes_from(client: System, user_file: Path, project: Path) -> None:
    user_file.write_text('[coordinator]\nkeep-runs = "90 days"')
    (project / PROJECT_FILE).write_text("worker.slots = 3")
    client.extra |= {"LONGSHORE_LABEL": "gpu arm"}
    rows = shown(client, project)
    assert rows["run", "keep-runs"] == rows["coordinator", "keep-runs"] == ("90 days", str(user_file))
    assert rows["run", "slots"] == rows["up", "slots"] == (3, str(project / PROJECT_FILE))
    assert rows["worker", "slots"] == (None, "default")
    assert rows["worker", "label"] == ("gpu arm", "$LONGSHORE_LABEL")
    assert re.search(r"^coordinator +keep-runs +90 days ", client.command("config", cwd=project).out, re.MULTILINE)


def test_help_is_there_whatever_a_file_says(client: System, user_file: Path) -> None:
    user_file.write_text("bogus = 1")
    assert client.command("run", "--help").status == 0
    done = client.command("run")
    assert (done.status, done.err) == (
        2,
        f"longshore: {user_file}: bogus: no such table; valid: run, up, worker, coordinator, projects\n",
    )
