"""The app refreshes the screen in front when it likes, also one that is not quite there yet or not quite gone."""

from __future__ import annotations

import asyncio
import time

from tests.support.eventually import DEADLINE
from tests.tui.driving import Dashboard
from tests.tui.still import still_app

QUIET_TURNS = 50
"""Turns of the event loop without a change after which a screen that is shown has come, and the one before has gone."""


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
            deadline = time.monotonic() + DEADLINE
            states = [(app.screen, len(app.screen.query("*")))]
            quiet = 0
            while quiet < QUIET_TURNS or shown not in seen.text:
                assert time.monotonic() < deadline, f"{shown!r} never came:\n{seen.text}"
                quiet += 1
                if states[-1] != (state := (app.screen, len(app.screen.query("*")))):
                    app._refresh_page()
                    states.append(state)
                    quiet = 0
                await asyncio.sleep(0)
            assert len(states) > 1, "no moment of its coming was seen"
