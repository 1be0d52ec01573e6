"""The app refreshes the screen in front when it likes, also one that is not quite there yet or not quite gone."""

from __future__ import annotations

import asyncio
import time

from tests.tui.driving import Dashboard
from tests.tui.still import still_app

LONG_ENOUGH = 0.2
"""Seconds in which a screen has come or gone; if it has not, the test sees less than it could, and passes."""


async def test_a_screen_is_refreshed_at_every_moment_of_its_coming_and_going() -> None:
    app = still_app()
    async with app.run_test(size=(120, 36)) as pilot:
        seen = Dashboard(app, pilot)
        await seen.sees("Progress", "❯")
        for key, shown in (
            ("enter", "Next failed"),
            ("enter", "Definition"),
            ("escape", "Next failed"),
            ("escape", "Progress"),
            ("2", "Slots"),
            ("3", "connected to"),
        ):
            app.simulate_key(key)
            until, before = time.monotonic() + LONG_ENOUGH, -1
            while time.monotonic() < until:
                if before != (before := len(app.screen.query("*"))):
                    app._refresh_page()
                await asyncio.sleep(0)
            await seen.sees(shown)
