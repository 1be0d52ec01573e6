"""The log view with its search line and its status line."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from tui.log.document import Position
from tui.log.search import Search
from tui.presentation.formatting import plural, size
from tui.widgets.filter_bar import FilterBar
from tui.widgets.log_view import LogView


class LogPane(Vertical):
    """A log, its search and its status line. Posts `FilterBar.Changed` when the search text changes."""

    DEFAULT_CSS = """
    LogPane { height: 1fr; }
    LogPane > LogView { height: 1fr; }
    LogPane > #log-status { height: 1; background: $panel; padding: 0 1; }
    """

    def __init__(self, *, takes_keys: bool = True, id: str | None = None) -> None:
        super().__init__(id=id)
        self._takes_keys = takes_keys
        self.problem = ""
        self.busy = ""  # the background activity

    def compose(self) -> ComposeResult:
        """View, search, status."""
        view = LogView(id="log-view")
        view.can_focus = self._takes_keys
        yield view
        yield FilterBar("search in the log; enter: to the log, then n and N: next and previous match")
        yield Static(id="log-status", markup=False)

    @property
    def view(self) -> LogView:
        """The log itself."""
        return self.query_one(LogView)

    def say_if_empty(self, text: str) -> None:
        """Sets the placeholder for an empty log."""
        if self.view.empty != text:
            self.view.empty = text
            self.view.refresh()

    def sync(self) -> None:
        """Shows the document's changes."""
        self.view.sync()
        self.show_status()

    def on_log_view_changed(self, _event: LogView.Changed) -> None:
        """Updates the following indicator."""
        self.show_status()

    def show_status(self) -> None:
        """Shows position, log length and search result."""
        view, document = self.view, self.view.document
        if document.complete:
            parts: list[tuple[str, str]] = [("■ complete", "$foreground 60%")]
        elif view.following:
            parts = [("● following", "$text-success")]
        else:
            parts = [("‖ paused, f follows", "$text-warning")]
        lines, exact = document.lines
        parts.append((f"{'' if exact else '~'}{plural(lines, 'line')}, {size(document.size)}", ""))
        if document.rows and not view.following:
            number = document.line_number(view.place)
            parts.append((f"line {number:,}" if number else f"{view.scroll_y / max(1, view.max_scroll_y):.0%}", ""))
        if view.search is not None:
            at = view.search.ordinal(view.found) if view.found is not None else None
            count = view.search.count
            parts.append((f"{at or '–'}/{plural(count, 'match').replace('matchs', 'matches')}", "bold $text-warning"))
        for words, style in ((self.busy, "$text-accent"), (self.problem, "$text-error")):
            if words:
                parts.append((words, style))
        if view.wrap:
            parts.append(("wrapped", "$foreground 60%"))
        if view.times:
            parts.append(("read by the worker" if view.has_times else "this log has no times", "$foreground 60%"))
        pieces: list[tuple[str, str] | str] = []
        for part in parts:
            pieces += ["   ", part] if pieces else [part]
        self.query_one("#log-status", Static).update(Content.assemble(*pieces))

    # search

    def look_for(self, search: Search | None) -> None:
        """Highlights a search; None clears it."""
        self.view.search = search
        self.view.found = None
        self.view.repaint()
        self.show_status()

    def jump(self, *, backwards: bool = False) -> bool:
        """Jumps to the next or previous match; returns whether there is one."""
        view = self.view
        if view.search is None:
            return False
        after = view.found
        if after is None and view.document.rows:
            top = view.top
            after = top if backwards else Position(top.page, top.line - 1)
        found = view.search.next(after, backwards=backwards)
        if found is None:
            return False
        self.show_found(found)
        return True

    def show_found(self, position: Position) -> None:
        """Jumps to a line and highlights it."""
        view = self.view
        view.found = position
        view.go(position)
        view.repaint()
        self.show_status()
