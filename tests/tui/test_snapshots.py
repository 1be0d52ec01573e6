"""How every screen looks, in two sizes and in two themes. `pytest --snapshot-update` takes new pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Tabs

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
    """Times in UTC, a folder that every machine has, colours whatever is asked for, no waiting for the next frame."""
    monkeypatch.setattr("tui.coalesce.FRAME", 0.0)
    monkeypatch.setattr("tui.screens.run.CURSOR_RESTS", 0.001)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir("/")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def open_job_tab(pilot: Pilot[None], name: str) -> None:
    """Waits until a job's details are there, and goes to one of its tabs."""
    screen = pilot.app.screen
    tabs = screen.query_one(Tabs)
    while not tabs.query("#service-db"):
        await pilot.pause(0.02)
    tabs.active = name
    while screen.query_one(ContentSwitcher).current != f"pane-{name}":
        await pilot.pause(0.02)


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
            else:
                await pilot.press(key)
        if isinstance(pilot.app.screen, JobScreen):
            await open_job_tab(pilot, keys[-1][1:] if keys[-1].startswith("@") else "log")
        while not log_is_shown(pilot.app.screen):
            await pilot.pause(0.02)
        await pilot.pause(0.1)

    return compare(still_app(theme=theme), terminal_size=size, run_before=go)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("screen", SCREENS)
def test_the_screen_looks_as_it_did(snap_compare: Callable[..., bool], screen: str, look: str) -> None:
    assert looks(SCREENS[screen], *LOOKS[look], snap_compare)


@pytest.mark.parametrize("detail", DETAILS)
def test_the_detail_looks_as_it_did(snap_compare: Callable[..., bool], detail: str) -> None:
    assert looks(DETAILS[detail], WIDE, DARK, snap_compare)
