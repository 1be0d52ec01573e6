"""Values as the database's columns have them. Pure."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from protocol.decoders import from_json

T = TypeVar("T")


def as_json(value: object) -> str:
    """A value for a column named `..._json`."""
    return msgspec.json.encode(value).decode()


def load(kind: type[T], text: str) -> T:
    """The value of a column named `..._json`. Raises msgspec.MsgspecError."""
    return from_json(text, kind)


def text(value: str) -> str:
    """`value` without NUL, which PostgreSQL can't store and only a broken peer would send."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in value else value


def maybe_text(value: str | None) -> str | None:
    """As `text`, for a column that may be empty."""
    return None if value is None else text(value)
