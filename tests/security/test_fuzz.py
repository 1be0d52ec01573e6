"""Thousands of random messages, and everything that has ever made a coordinator stumble, again."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest

from tests.security.fuzz import CORPUS, check, fuzz, say
from tests.support.coordinator_process import Running
from tests.support.plans import job, plan

MESSAGES = 10_000
SEED = 20261124


def test_the_coordinator_answers_or_drops_whatever_it_is_told_and_stays_as_it_was() -> None:
    assert fuzz(SEED, messages=MESSAGES) >= MESSAGES


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.msgpack")), ids=lambda path: path.stem)
def test_what_made_a_coordinator_stumble_does_so_no_more(path: Path, tmp_path: Path) -> None:
    with Running(tmp_path / "state") as running:
        with running.client() as client:
            client.submit_run(plan(job("a"), job("b", needs=["a"])))
        say(running, msgpack.unpackb(path.read_bytes(), strict_map_key=False))
        check(running)
