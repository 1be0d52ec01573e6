"""Longshore's own JSON, for scripts and git servers that none of the other modules knows; see docs/team.md."""

from __future__ import annotations

import msgspec

from protocol.errors import UsageError
from protocol.plan import Variable
from protocol.variables import VARIABLE_NAME
from web.hooks.delivery import NO_COMMIT, Delivery, Forge, Report, person, pushed
from web.hooks.signatures import is_hex_hmac

MAX_VARIABLES = 100
MAX_ID = 64
"""Characters of a delivery's id."""


class Author(msgspec.Struct):
    """A commit's author."""

    name: str = ""
    email: str = ""


class Push(msgspec.Struct, forbid_unknown_fields=True):
    """The whole payload. `id` distinguishes two deliveries with otherwise equal payloads."""

    ref: str
    after: str
    before: str = NO_COMMIT
    id: str = ""
    repository: str = ""
    title: str = ""
    author: Author = msgspec.field(default_factory=Author)
    user: str = ""
    variables: dict[str, str] = msgspec.field(default_factory=dict)


def _is_signed(delivery: Delivery, secret: str) -> bool:
    return is_hex_hmac(delivery.header("x-longshore-signature"), secret, delivery.body, prefix="sha256=")


def _report(delivery: Delivery) -> Report:
    push = delivery.json(Push)
    if len(push.variables) > MAX_VARIABLES:
        raise UsageError(f"there are {len(push.variables)} variables; at most {MAX_VARIABLES} are allowed")
    for name in push.variables:
        if not VARIABLE_NAME.fullmatch(name):
            raise UsageError(f"{name[:100]!r} is not a variable's name: it has letters, digits and '_'")
    report = pushed(
        push.ref,
        push.before,
        push.after,
        title=push.title,
        author=person(push.author.name, push.author.email),
        user=push.user,
    )
    variables = [Variable(key=name, value=value) for name, value in push.variables.items()]
    triggers = [msgspec.structs.replace(trigger, variables=variables) for trigger in report.triggers]
    return msgspec.structs.replace(report, repository=push.repository, triggers=triggers)


def _delivery_id(delivery: Delivery) -> str:
    id = delivery.json(Push).id
    return f"plain {id[:MAX_ID]}" if id else delivery.digest


PLAIN = Forge(
    name="plain",
    title="Any other, with Longshore's own JSON",
    marks=("x-longshore-signature",),
    is_signed=_is_signed,
    report=_report,
    delivery_id=_delivery_id,
)
