"""Fencing of writes: a coordinator starts a new term when it takes the database, and writes only in its own term.

The database's lock is not enough. It is lost with its connection, and a coordinator that takes it again does not learn
from it that another one had it, and wrote, in between.
"""

from __future__ import annotations

from uuid import uuid4

import msgspec

from protocol.errors import LongshoreError

KEY = "term"
"""Key of the term's row in `Meta`."""


class Superseded(LongshoreError):
    """Another coordinator has taken over the database. This one must stop, as its memory is stale."""


class Term(msgspec.Struct, frozen=True):
    """One coordinator's ownership of a database. Unique, even after a backup was restored.

    `number` increases by one with each term, for people. `holder` names the process.
    """

    number: int
    nonce: str
    holder: str

    @classmethod
    def after(cls, text: str | None, holder: str) -> Term:
        """A new term for `holder`; `text` is the previous term's row, if any."""
        before = cls.parse(text)
        return cls((before.number if before else 0) + 1, uuid4().hex, holder)

    @classmethod
    def parse(cls, text: str | None) -> Term | None:
        """The term of a row; None if the row is missing or malformed."""
        parts = (text or "").split(" ", 2)
        if len(parts) != 3 or not parts[0].isdecimal():
            return None
        return cls(int(parts[0]), parts[1], parts[2])

    def __str__(self) -> str:
        return f"{self.number} {self.nonce} {self.holder}"

    def superseded(self, database: str, text: str | None) -> Superseded:
        """The error for the case that the row `text` is no longer this term."""
        other = self.parse(text)
        if other is None or other.number <= self.number:
            what = "was replaced or restored while this coordinator could not reach it"
        else:
            what = f"was taken over by another coordinator ({other.holder}, in term {other.number})"
        return Superseded(
            f"the database {database} {what}; this coordinator (term {self.number}) stops, and has written and "
            "announced nothing since. Let one coordinator serve the database, then start only that one"
        )
