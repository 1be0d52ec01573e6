"""A page with a log, and its keys."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from textual.app import SuspendNotSupported
from textual.binding import Binding, BindingType

from protocol.errors import LongshoreError
from tui.log.source import LogSource
from tui.presentation.formatting import size
from tui.screens.commands import CommandPage
from tui.screens.dialogs import Ask
from tui.screens.log_controller import LogController
from tui.widgets.filter_bar import FilterBar
from tui.widgets.log_pane import LogPane
from tui.widgets.log_view import LogView

MATCH_KEYS = ("next_match", "previous_match")
LOG_KEYS = frozenset(
    {*MATCH_KEYS, "follow", "times", "wrap", "search", "first_error", "save", "pager", "fold", "folds"}
)
"""Actions that require a visible log."""
NO_SECTIONS = "this log has no sections"


class LogPage(CommandPage):
    """Has one `LogPane` and the controller that fills it. Subclasses open logs and name their files."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "Follow"),
        Binding("slash", "search", "Search", key_display="/"),
        Binding("n", "next_match", "Next"),
        Binding("N", "previous_match", "Previous", key_display="N"),
        Binding("e", "first_error", "First error"),
        Binding("w", "wrap", "Wrap"),
        Binding("t", "times", "Times"),
        Binding("z", "fold", "Fold"),
        Binding("Z", "folds", "Fold all", key_display="Z"),
        Binding("s", "save", "Save"),
        Binding("o", "pager", "Pager"),
    ]

    @property
    def log_is_shown(self) -> bool:
        """Whether the log is visible."""
        return self.is_composed

    def log_file_name(self, source: LogSource) -> str:
        """Default name of a saved log."""
        raise NotImplementedError

    @cached_property
    def follower(self) -> LogController:
        """The controller of the pane."""
        return LogController(self.app.feed, self.query_one(LogPane))

    @property
    def pane(self) -> LogPane:
        """The log with its search and status lines."""
        return self.query_one(LogPane)

    def on_unmount(self) -> None:
        """Closes the log."""
        self.follower.close()

    def on_log_view_looked(self, event: LogView.Looked) -> None:
        """Fetches the visible rows."""
        self.follower.look(event.top, event.height)

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        """Searches while typing."""
        self.follower.search(event.value)
        self.refresh_bindings()

    def on_filter_bar_done(self, _event: FilterBar.Done) -> None:
        """Returns from the search to the log."""
        self.pane.view.focus()
        self.refresh_bindings()

    # keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hides the log's keys without a visible log, and the match keys without a search."""
        if action in LOG_KEYS and not self.log_is_shown:
            return False
        if action in MATCH_KEYS:
            return self.pane.view.search is not None
        return super().check_action(action, parameters)

    def applies(self, action: str) -> bool:
        """Folding requires sections."""
        if action in ("fold", "folds"):
            return self.log_is_shown and bool(self.pane.view.document.sections)
        return super().applies(action)

    def action_back(self) -> None:
        """Ends the search, or goes back."""
        bar = self.pane.query_one(FilterBar)
        if self.log_is_shown and bar.value:
            bar.clear()
        else:
            super().action_back()

    def action_follow(self) -> None:
        """Toggles following the log's end."""
        self.pane.view.follow(not self.pane.view.following)

    def action_times(self) -> None:
        """Toggles the lines' times."""
        self.pane.view.times = not self.pane.view.times
        self.pane.view.repaint()
        self.pane.sync()

    def action_wrap(self) -> None:
        """Toggles wrapping of long lines."""
        self.pane.view.wrap = not self.pane.view.wrap
        self.pane.view.repaint()
        self.pane.sync()

    def action_search(self) -> None:
        """Opens the search."""
        self.pane.query_one(FilterBar).open()

    def action_next_match(self) -> None:
        """Jumps to the next match."""
        self.pane.jump()

    def action_previous_match(self) -> None:
        """Jumps to the previous match."""
        self.pane.jump(backwards=True)

    def action_first_error(self) -> None:
        """Jumps to the first line that looks like an error."""
        source, pane = self.follower.source, self.pane
        if source is None:
            return

        async def find() -> str | None:
            pane.busy = "looking for an error ..."
            pane.show_status()
            try:
                found = await source.first_error()
            finally:
                pane.busy = ""
            if found is None:
                pane.show_status()
                return "no error found in this log"
            pane.query_one(FilterBar).clear()
            pane.show_found(found)
            return None

        self.command(find())

    def action_fold(self) -> None:
        """Toggles the section on the screen."""
        section = self.pane.view.visible_section()
        if section is None:
            self.tell(NO_SECTIONS)
        else:
            self.pane.view.toggle_section(section)

    def action_folds(self) -> None:
        """Folds all sections, or unfolds them if all are folded."""
        document = self.pane.view.document
        if not document.sections:
            self.tell(NO_SECTIONS)
        document.fold(document.sections, not all(document.is_folded(section) for section in document.sections))
        self.pane.view.sync()

    def action_save(self) -> None:
        """Saves the log to a file on this machine or, in a browser, on the browser's machine."""
        if (source := self.follower.source) is not None:
            self.command(self._deliver(source) if self.app.is_web else self._save(source))

    async def _save(self, source: LogSource) -> str | None:
        where = await self.app.ask(Ask("Save the log as", self.log_file_name(source)))
        if where is None:
            return None
        path = Path(where).expanduser()
        try:
            with path.open("wb") as file:
                count = await source.write(file)
        except OSError as error:
            raise LongshoreError(f"can't write {path}: {error.strerror}") from error
        return f"{path}: {size(count)}"

    async def _deliver(self, source: LogSource) -> None:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the driver reads and closes it later
        await source.write(file)
        file.seek(0)
        self.app.deliver_binary(file, save_filename=self.log_file_name(source))

    def action_pager(self) -> None:
        """Opens the log in $PAGER."""
        if (source := self.follower.source) is not None:
            self.command(self._page(source))

    async def _page(self, source: LogSource) -> None:
        with tempfile.TemporaryDirectory(prefix="longshore-") as folder:
            path = Path(folder) / "job.log"
            with path.open("wb") as file:
                await source.write(file)
            pager = shlex.split(os.environ.get("PAGER") or "less -R")
            try:
                with self.app.suspend():
                    subprocess.run([*pager, str(path)], check=False)
            except SuspendNotSupported:
                raise LongshoreError("a pager needs a terminal; press s to save the log instead") from None
            except OSError as error:
                raise LongshoreError(f"can't start the pager {pager[0]}: {error.strerror}") from error
