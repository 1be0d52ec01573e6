"""What a push asks for: its refs and push options, as triggers. Pure."""

from __future__ import annotations

import msgspec

from protocol.errors import UsageError
from protocol.plan import Variable
from protocol.projects import TriggerSpec
from protocol.variables import VARIABLE_NAME
from web.hooks.delivery import NO_COMMIT, check_ref, is_nothing

MOST_REFS = 20
"""Refs of one push that start runs; GitLab's limit is 4, for all pushes."""
MOST_VARIABLES = 100
SKIP, WAIT, VARIABLE = "ci.skip", "ci.wait", "ci.variable"
NOT_OURS = ("merge_request.", "mr.", "integrations.", "secret_detection.", "secret_push_protection.")
"""Push options of GitLab that concern no pipeline."""


class Update(msgspec.Struct, frozen=True):
    """One ref of a push, in full."""

    old: str
    new: str
    ref: str


class PushOptions(msgspec.Struct, frozen=True):
    """Push options about runs: start none, accept the push only if they succeed, variables."""

    skip: bool = False
    wait: bool = False
    variables: list[Variable] = msgspec.field(default_factory=list)


def parse_options(given: list[str]) -> PushOptions:
    """The options of `git push -o`. Raises UsageError for an unknown one."""
    skip = wait = False
    variables: list[Variable] = []
    for option in given:
        name, equals, value = option.partition("=")
        if option == SKIP:
            skip = True
        elif option == WAIT:
            wait = True
        elif name == VARIABLE and equals:
            key, equals, value = value.strip('"').partition("=")
            if not equals or not VARIABLE_NAME.fullmatch(key):
                raise UsageError(f"push option {option[:100]!r}: give ci.variable=NAME=VALUE")
            variables.append(Variable(key=key, value=value))
        elif not name.startswith(NOT_OURS):
            raise UsageError(
                f"unknown push option {option[:100]!r}; known are {SKIP}, {WAIT} and {VARIABLE}=NAME=VALUE"
            )
    if len(variables) > MOST_VARIABLES:
        raise UsageError(f"{len(variables)} push options with variables; at most {MOST_VARIABLES} are allowed")
    if skip and wait:
        raise UsageError(f"{SKIP} leaves nothing for {WAIT} to wait for")
    return PushOptions(skip, wait, variables)


def check_updates(updates: list[Update]) -> None:
    """Raises UsageError for refs that may not be pushed."""
    for update in updates:
        folder, _, name = update.ref.removeprefix("refs/").partition("/")
        if not update.ref.startswith("refs/") or folder not in ("heads", "tags"):
            raise UsageError(f"{update.ref[:100]!r} is neither a branch nor a tag")
        check_ref(name)


def triggers(
    project: str, key: str, user: str, updates: list[Update], options: PushOptions, *, pushed: bool = True
) -> list[TriggerSpec]:
    """The triggers of a push to a project's repository, `pushed` if it is Longshore's own. Raises UsageError.

    `key` identifies the push.
    """
    changed = [update for update in updates if not is_nothing(update.new)]
    if len(changed) > MOST_REFS:
        raise UsageError(
            f"{len(changed)} branches and tags at once; at most {MOST_REFS} start runs: push with -o {SKIP}"
        )
    return [
        TriggerSpec(
            project=project,
            key=f"{key} {number}",
            source="push",
            ref=update.ref.removeprefix("refs/heads/").removeprefix("refs/tags/"),
            tag=update.ref.startswith("refs/tags/"),
            sha=update.new,
            before_sha=NO_COMMIT if is_nothing(update.old) else update.old,
            user=user,
            variables=options.variables,
            pushed=pushed,
        )
        for number, update in enumerate(changed)
    ]
