"""Who may write to a database: a coordinator raises the term when it takes the database, and writes in its own only.

The lock of a database is not enough. It is lost with its connection, and whoever takes it again later does not learn
from it that somebody else had it, and wrote, in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from protocol.errors import LongshoreError

KEY = "term"
"""Of the row in `Meta`."""


class Superseded(LongshoreError):
    """Another coordinator has taken the database over. Whoever meets this stops: its memory is out of date."""


@dataclass(frozen=True, slots=True)
class Term:
    """The time in which one coordinator has a database. Equal only to itself, also after a backup was restored.

    `number` grows by one from term to term, and is for people. `holder` names the process.
    """

    number: int
    nonce: str
    holder: str

    @classmethod
    def after(cls, text: str | None, holder: str) -> Term:
        """A new term for `holder`; `text` is the row of the one before, if there was any."""
        before = cls.parse(text)
        return cls((before.number if before else 0) + 1, uuid4().hex, holder)

    @classmethod
    def parse(cls, text: str | None) -> Term | None:
        """The term of a row; None if the row is missing or makes no sense."""
        parts = (text or "").split(" ", 2)
        if len(parts) != 3 or not parts[0].isdecimal():
            return None
        return cls(int(parts[0]), parts[1], parts[2])

    def __str__(self) -> str:
        return f"{self.number} {self.nonce} {self.holder}"

    def superseded(self, database: str, text: str | None) -> Superseded:
        """What to tell the user where the row `text` is not this term any more."""
        other = self.parse(text)
        if other is None or other.number <= self.number:
            what = "was replaced or restored while this coordinator could not reach it"
        else:
            what = f"was taken over by another coordinator ({other.holder}, in term {other.number})"
        return Superseded(
            f"the database {database} {what}; this coordinator (term {self.number}) stops, and has written and "
            "announced nothing since. Let one coordinator serve the database, then start only that one"
        )
