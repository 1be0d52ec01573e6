"""Pipelines, ours and those of others, run in real Docker as their scripts imply: tables say how.

Ours are in tests/conformance/runs.yml; those of others lie beside the checkout, if anywhere, and are an extra.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from protocol.client import Client
from tests.conftest import Images
from tests.support.eventually import DEADLINE, eventually
from tests.support.system import System, leftovers
from tests.system.corpus import (
    CASES,
    OTHERS,
    OURS,
    TABLE,
    agree,
    archived,
    ended,
    jobs_in,
    named_images,
    outcome,
    printed,
    submit,
)

BESIDE = pytest.mark.skipif(not CASES.is_dir(), reason="the cases of others are not beside this checkout")
OF_THE_LANGUAGE = (
    "before-script-default",
    "comment-directive-anchor",
    "duplicated-keys",
    "extends",
    "include-local",
    "needs-empty",
    "needs-optional-complex",
    "needs-parallel",
    "needs-same-stage",
    "never",
    "parallel",
    "plain",
    "reference",
    "rules-needs",
    "scripts-as-string",
    "variables-null",
    "workflow-rules",
)
"""Beginnings of the cases whose point is their plan, which tests/pipeline/test_conformance.py compares."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Where all the pipelines run: their runs by the key of the table."""

    system: System
    runs: dict[str, int]


@pytest.fixture(scope="module")
def corpus(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    docker_client: docker.DockerClient,
    images: Images,
) -> Iterator[Corpus]:
    here = (item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path)
    chosen = {item.callspec.params["key"] for item in here}
    folder = tmp_path_factory.mktemp("corpus")
    system = System(folder)
    try:
        with named_images(docker_client, images):
            system.start_coordinator()
            for name in ("w1", "w2"):
                system.start_worker(name, "--slots", "4")
            system.wait_for_workers(2)
            assert system.address is not None
            with Client(system.address, timeout=DEADLINE) as client:
                runs = {key: submit(client, folder / "projects", key, images) for key in TABLE if key in chosen}
            yield Corpus(system, runs)
            coordinator = system.coordinator_id
            eventually(lambda: not leftovers(docker_client, coordinator))
            system.stop()
    finally:
        system.stop()


def marks(key: str) -> list[pytest.MarkDecorator]:
    """The marks of a case of others."""
    return [BESIDE, pytest.mark.long] if key.startswith(OF_THE_LANGUAGE) else [BESIDE]


@pytest.mark.parametrize("key", [*OURS, *(pytest.param(key, marks=marks(key)) for key in OTHERS)])
def test_a_pipeline_comes_to_what_its_scripts_imply(corpus: Corpus, tmp_path: Path, key: str) -> None:
    wanted, system = TABLE[key], corpus.system
    run = ended(system, corpus.runs[key], wanted.get("play", []))
    jobs = jobs_in(run)
    assert {name: outcome(job) for name, job in jobs.items()} == {name: job[0] for name, job in wanted["jobs"].items()}
    assert str(run.status) == wanted.get("status", "success")
    for name, (_, *lines) in wanted["jobs"].items():
        found = printed(system.logged(run.id, name))
        assert agree(found, lines), f"{name} printed {found}"
    failed = {name for name, job in jobs.items() if outcome(job).startswith("failed") and job.allow_failure}
    assert failed == set(wanted.get("allowed", []))
    coverage = {name: job.coverage for name, job in jobs.items() if job.coverage is not None}
    assert coverage == wanted.get("coverage", {})
    assert system.address is not None
    with Client(system.address, timeout=DEADLINE) as client:
        for name, files in wanted.get("artifacts", {}).items():
            assert archived(client, jobs[name], tmp_path) == files
