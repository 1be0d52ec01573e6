"""Opening the dashboard in a test, and waiting for what it shows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from unittest.mock import patch

from textual._context import visible_screen_stack
from textual.pilot import Pilot
from textual.widgets import Input

from tests.support.eventually import DEADLINE, aeventually
from tui.app import LongshoreApp
from tui.screens import page


@dataclass
class Dashboard:
    """An open dashboard."""

    app: LongshoreApp
    pilot: Pilot[None]

    @property
    def text(self) -> str:
        """All that is on the screen, line by line."""
        visible_screen_stack.set(self.app._background_screens)  # else nothing is behind it, for good: lines are kept
        lines = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in line) for line in lines)

    async def until(self, claim: Callable[[], object]) -> None:
        """Waits for a claim to come true."""
        try:
            await aeventually(claim, pause=self.pilot.pause)
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen shows:\n{self.text}") from None

    async def sees(self, *texts: str) -> None:
        """Waits until the screen shows all of these texts."""
        await self.until(lambda: all(text in self.text for text in texts))

    async def sees_no(self, text: str) -> None:
        """Waits until the screen does not show a text."""
        await self.until(lambda: text not in self.text)

    async def press(self, *keys: str) -> None:
        """Presses keys."""
        await self.pilot.press(*keys)

    async def fill(self, text: str) -> None:
        """Puts a text into the field that has the keys."""
        field = self.app.focused
        assert isinstance(field, Input)
        field.value = text
        await self.pilot.pause()

    async def open_run(self) -> None:
        """Goes into the newest run."""
        await self.sees("Progress", "❯")
        await self.press("enter")
        await self.sees("build", "❯")

    async def open_job(self, name: str) -> None:
        """From a run's screen to a job of it."""
        self.app.screen.query_one("StageColumns").select(name)  # type: ignore[attr-defined]
        await self.press("enter")
        await self.sees("Definition", name)


@asynccontextmanager
async def dashboard(address: str, size: tuple[int, int] = (120, 36)) -> AsyncIterator[Dashboard]:
    """Opens the dashboard of a coordinator. Its messages in the corner stay: who waits for one may come late."""
    app = LongshoreApp(address)
    with patch.multiple(page, GOOD_NEWS=DEADLINE, BAD_NEWS=DEADLINE):
        async with app.run_test(size=size, notifications=True) as pilot:
            yield Dashboard(app, pilot)
