"""How every screen looks, in two sizes and in two themes. `pytest --snapshot-update` takes new pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Input, Tabs

from tests.tui.driving import Dashboard
from tests.tui.still import still_app
from tui.screens.job import JobScreen
from tui.widgets.log_view import LogView
from tui.widgets.table import Table

WIDE, NARROW = (120, 36), (60, 20)
DARK, LIGHT = "textual-dark", "textual-light"
LOOKS = {
    f"{size}-{theme}": (WIDE if size == "wide" else NARROW, DARK if theme == "dark" else LIGHT)
    for size in ("wide", "narrow")
    for theme in ("dark", "light")
}
SCREENS: dict[str, list[str]] = {
    "runs": [],
    "run": ["enter"],
    "graph": ["enter", "v"],
    "job": ["enter", "enter"],
    "workers": ["2", "down"],
    "feed": ["3"],
    "help": ["enter", "question_mark"],
    "confirm": ["c"],
}
"""Screens, and the keys that lead there; `@name` is a tab of a job's screen."""
LEADS_ON = {"enter", "2", "3", "question_mark", "c", "n"}
"""Keys after which there is another screen, unless one is writing."""
DETAILS: dict[str, list[str]] = {
    "filter": ["slash", *"hats"],
    "search": [*SCREENS["job"], "slash", *"pass", "enter"],
    "attempts": [*SCREENS["job"], "@attempts"],
    "definition": [*SCREENS["job"], "@definition"],
    "artifacts": [*SCREENS["job"], "@artifacts"],
    "tests": [*SCREENS["job"], "@tests"],
    "story": [*SCREENS["job"], "@story"],
    "new-run": ["n"],
}


@pytest.fixture(autouse=True)
def _same_each_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times in UTC, a folder that every machine has, colours whatever is asked for, nothing that blinks or waits."""
    monkeypatch.setattr("tui.widgets.coalescer.FRAME", 0.0)
    monkeypatch.setattr("tui.screens.run.CURSOR_RESTS", 0.001)
    monkeypatch.setattr(Input, "_toggle_cursor", lambda _self: None)  # nothing blinks
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir("/")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


STILL = 4
"""Looks at the screen that are all the same: then nothing more is on its way to it."""


async def open_job_tab(pilot: Pilot[None], name: str) -> None:
    """Waits until a job's details are there, and goes to one of its tabs."""
    screen = pilot.app.screen
    tabs = screen.query_one(Tabs)
    while not tabs.query("#service-db"):
        await pilot.pause(0.02)
    tabs.active = name
    while screen.query_one(ContentSwitcher).current != f"pane-{name}":
        await pilot.pause(0.02)


async def stands_still(pilot: Pilot[None]) -> None:
    """Waits until the screen changes no more."""
    seen: list[str] = []
    while len(seen) < STILL or len({*seen[-STILL:]}) > 1 or not seen[-1].strip():
        seen.append(Dashboard(pilot.app, pilot).text)  # type: ignore[arg-type]
        await pilot.pause(0.03)


def log_is_shown(screen: Screen[object]) -> bool:
    """Whether the log that the screen has room for has come."""
    documents = [view.document for view in screen.query(LogView) if view.size.height]
    return all(d.complete and d.page_count and d.is_whole(0) for d in documents)


def looks(keys: list[str], size: tuple[int, int], theme: str, compare: Callable[..., bool]) -> bool:
    """Whether the dashboard looks as it did, after these keys."""

    async def go(pilot: Pilot[None]) -> None:
        while not pilot.app.screen.query_one(Table).rows:
            await pilot.pause(0.02)
        for key in keys:
            if key.startswith("@"):
                await open_job_tab(pilot, key[1:])
                continue
            before, writes = pilot.app.screen, isinstance(pilot.app.focused, Input)
            if key in LEADS_ON and not writes:
                await stands_still(pilot)  # what another screen covers is drawn no more
            await pilot.press(key)
            while key in LEADS_ON and not writes and pilot.app.screen is before:
                await pilot.pause(0.02)
        if isinstance(pilot.app.screen, JobScreen):
            await open_job_tab(pilot, keys[-1][1:] if keys[-1].startswith("@") else "log")
        while not log_is_shown(pilot.app.screen):
            await pilot.pause(0.02)
        await stands_still(pilot)

    return compare(still_app(theme=theme), terminal_size=size, run_before=go)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("screen", SCREENS)
def test_the_screen_looks_as_it_did(snap_compare: Callable[..., bool], screen: str, look: str) -> None:
    assert looks(SCREENS[screen], *LOOKS[look], snap_compare)


@pytest.mark.parametrize("detail", DETAILS)
def test_the_detail_looks_as_it_did(snap_compare: Callable[..., bool], detail: str) -> None:
    assert looks(DETAILS[detail], WIDE, DARK, snap_compare)
