"""Variables that steer a job's checkout mean what they mean to GitLab's runner."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.executors.base import CheckoutOptions, JobFailed
from daemon.executors.common.checkout_options import checkout_options
from protocol.statuses import FailureReason

PLAIN = CheckoutOptions(depth=20, files=True, submodules="none", submodule_paths=(), submodule_depth=20)


def parsed(**values: str) -> tuple[CheckoutOptions | None, list[str]]:
    """The options, and what is warned of."""
    warnings: list[str] = []
    return checkout_options(values, warnings), warnings


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        ({}, {}),
        ({"GIT_STRATEGY": "", "GIT_DEPTH": "", "GIT_CHECKOUT": "", "GIT_SUBMODULE_STRATEGY": ""}, {}),
        ({"GIT_STRATEGY": "clone"}, {}),
        ({"GIT_STRATEGY": "fetch"}, {}),
        ({"GIT_DEPTH": "1"}, {"depth": 1, "submodule_depth": 1}),
        ({"GIT_DEPTH": "0"}, {"depth": 0, "submodule_depth": 0}),
        ({"GIT_DEPTH": "-1"}, {"depth": 0, "submodule_depth": 0}),
        ({"GIT_DEPTH": " 007 "}, {"depth": 7, "submodule_depth": 7}),
        ({"GIT_DEPTH": "5", "GIT_SUBMODULE_DEPTH": "2"}, {"depth": 5, "submodule_depth": 2}),
        ({"GIT_SUBMODULE_DEPTH": "0"}, {"submodule_depth": 0}),
        ({"GIT_CHECKOUT": "true"}, {}),
        ({"GIT_CHECKOUT": "false"}, {"files": False}),
        ({"GIT_CHECKOUT": "F"}, {"files": False}),
        ({"GIT_CHECKOUT": "0"}, {"files": False}),
        ({"GIT_SUBMODULE_STRATEGY": "normal"}, {"submodules": "normal"}),
        ({"GIT_SUBMODULE_STRATEGY": "recursive"}, {"submodules": "recursive"}),
        ({"GIT_SUBMODULE_PATHS": " a  b/c\td "}, {"submodule_paths": ("a", "b/c", "d")}),
        ({"GIT_SUBMODULE_PATHS": ":(exclude) a b"}, {"submodule_paths": (":(exclude)a", "b")}),
        ({"GIT_SUBMODULE_PATHS": ":(exclude)a :!b"}, {"submodule_paths": (":(exclude)a", ":!b")}),
        ({"GIT_CLEAN_FLAGS": "-ffdx -e cache/"}, {}),
        ({"GIT_CLEAN_FLAGS": "none"}, {}),
    ],
    ids=str,
)
def test_a_variable_steers_the_checkout(values: dict[str, str], changes: dict[str, Any]) -> None:
    fields = {name: getattr(PLAIN, name) for name in CheckoutOptions.__struct_fields__}
    assert parsed(**values) == (CheckoutOptions(**fields | changes), [])


@pytest.mark.parametrize("strategy", ["none", "empty"])
def test_a_job_without_sources_has_no_checkout_whatever_else_it_says(strategy: str) -> None:
    assert parsed(GIT_STRATEGY=strategy, GIT_DEPTH="x", GIT_SUBMODULE_STRATEGY="?") == (None, [])


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({"GIT_DEPTH": "all"}, "GIT_DEPTH has no effect: 'all' is not a number of commits"),
        ({"GIT_DEPTH": "1.5"}, "GIT_DEPTH has no effect: '1.5' is not a number of commits"),
        ({"GIT_DEPTH": "9" * 5000}, f"GIT_DEPTH has no effect: '{'9' * 100}' is not a number of commits"),
        ({"GIT_SUBMODULE_DEPTH": "$NONE"}, "GIT_SUBMODULE_DEPTH has no effect: '$NONE' is not a number of commits"),
        ({"GIT_CHECKOUT": "no"}, 'GIT_CHECKOUT has no effect: \'no\' is neither "true" nor "false"'),
    ],
)
def test_a_value_that_says_nothing_is_told_of_and_has_no_effect(values: dict[str, str], warning: str) -> None:
    assert parsed(**values) == (PLAIN, [warning])


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"GIT_STRATEGY": "pull"}, "unknown GIT_STRATEGY 'pull': it is one of clone, fetch, none, empty"),
        ({"GIT_STRATEGY": "None"}, "unknown GIT_STRATEGY 'None'"),
        ({"GIT_SUBMODULE_STRATEGY": "all"}, "unknown GIT_SUBMODULE_STRATEGY 'all': it is one of none, normal"),
        ({"GIT_SUBMODULE_PATHS": "a :(exclude)"}, "'a :(exclude)' ends with :(exclude), which needs a path"),
    ],
)
def test_what_gitlab_does_not_know_fails_the_job_with_its_reason(values: dict[str, str], why: str) -> None:
    with pytest.raises(JobFailed) as caught:
        parsed(**values)
    assert caught.value.reason is FailureReason.RUNNER_SYSTEM_FAILURE
    assert why in str(caught.value)
