"""Cron expressions in a time zone, with Debian cron's rules for daylight saving time. Pure.

A time of day that the clock skips comes due as soon as the clock has changed; one that it repeats comes due once. Both
hold for fixed hours and minutes; a field that begins with `*` follows the clock's real hours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from protocol.errors import UsageError

LONGEST = 200
"""Maximum characters of an expression."""
FIELDS = 5
NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
HOUR = 3600.0
DAY = 24 * HOUR
WINDOWS = (HOUR, DAY, 32 * DAY)
"""Seconds before a time in which its latest due time is looked for, the nearest first: an expression that comes due
every minute is not counted through a year.
"""


class Cron:
    """The due times of a cron expression, in seconds since the epoch. Raises UsageError for an invalid one."""

    def __init__(self, expression: str, timezone: str = "UTC") -> None:
        self.expression = NAMED.get(expression.strip().lower(), expression.strip())
        self._zone = zone_of(timezone)
        if len(expression) > LONGEST:
            raise UsageError(f"a cron expression has at most {LONGEST} characters")
        if len(self.expression.split()) != FIELDS:
            raise UsageError(
                f"cron expression {expression!r} needs five fields: minute, hour, day of month, month, day of week; "
                f"for example '0 3 * * 1-5', or one of {', '.join(NAMED)}"
            )
        try:
            found = next(self.after(0.0), None)
        except (CronSimError, AssertionError, ValueError) as error:
            raise UsageError(
                f"cron expression {expression!r}: {_problem(error)}; for example, '0 3 * * 1-5' is 03:00 from Monday "
                "to Friday"
            ) from None
        if found is None:
            raise UsageError(f"cron expression {expression!r} never comes due: no such date exists")

    def after(self, since: float) -> Iterator[float]:
        """All due times after `since`, in order."""
        last = since
        for at in CronSim(self.expression, datetime.fromtimestamp(since, UTC).astimezone(self._zone)):
            due = at.timestamp()
            if due > last:  # begun in a repeated hour, the first one is that of the hour before
                last = due
                yield due

    def latest(self, since: float, until: float) -> float | None:
        """The last due time after `since` and up to `until`, if any."""
        first = next(self.after(since), None)
        if first is None or first > until:
            return None
        begins = [since, *(until - window for window in WINDOWS if until - window > since)]
        for begin in sorted(begins, reverse=True):
            found = None
            for due in self.after(begin):
                if due > until:
                    break
                found = due
            if found is not None:
                return found
        return None


def zone_of(name: str) -> ZoneInfo:
    """The time zone of that name. Raises UsageError for an unknown one."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        known = sorted(available_timezones())
        cities = [zone for zone in known if zone.rpartition("/")[2].casefold() == name.casefold()]
        near = cities or difflib.get_close_matches(name, known, n=1, cutoff=0.7)
        hint = f"did you mean {near[0]}?" if near else "use a name such as Europe/Berlin or UTC"
        raise UsageError(f"unknown time zone {name[:100]!r}; {hint}") from None


def _problem(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].lower()}{text[1:]} field" if isinstance(error, CronSimError) else "invalid"
