"""Plans agree with what the peer gitlab-ci-local makes of its own test cases, but for what GitLab's reference says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "conformance"
CHECK = SHARED / "check-plan"
LONGSHORE = Path(sys.executable).with_name("longshore")

DIFFERENCES = {
    "needs-parallel-matrix-error/.gitlab-ci.yml": (
        "needs:parallel:matrix: 'identifiers and values must be selected from the identifiers and values defined in "
        "the parallel:matrix job'; the case's own comments say that anything else must be an error"
    ),
    "needs-parallel-matrix-static/.gitlab-ci.yml": (
        "parallel:matrix: jobs are named `job: [a, b]`, with a blank after the comma"
    ),
    "parallel/.gitlab-ci.yml": "parallel: jobs are 'named sequentially from job_name 1/N to job_name N/N'",
    "workflow-rules-variables/.gitlab-ci-no-match.yml": (
        "workflow:rules: 'When no rules evaluate to true, the pipeline does not run'"
    ),
}
"""Cases in which the peer does not do what GitLab's public reference says, each with what it says."""


@pytest.mark.skipif(not CHECK.exists(), reason="the cases of others are not beside this checkout")
@pytest.mark.timeout(300)
def test_plans_agree_with_the_peer_s_but_for_the_known_differences() -> None:
    done = subprocess.run([sys.executable, CHECK, LONGSHORE], capture_output=True, text=True, check=False)
    *lines, summary = done.stdout.splitlines()
    differing = {line.partition(": ")[0] for line in lines if line.partition(": ")[0].endswith(".yml")}
    assert differing == set(DIFFERENCES), done.stdout
    total = int(summary.split()[2])
    assert summary == f"{total - len(DIFFERENCES)} of {total} agree"
