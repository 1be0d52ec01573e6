"""Base of the screens with one filtered table: the filter's keys, and the way back to the table."""

from __future__ import annotations

from tui.screens.commands import CommandPage
from tui.widgets.filter_bar import FilterBar
from tui.widgets.table import Table


class ListPage(CommandPage):
    """A page whose body is one FilterBar and one Table."""

    def on_filter_bar_changed(self, _event: FilterBar.Changed) -> None:
        """Filters while typing."""
        self.refresh_view()

    def on_filter_bar_done(self, _event: FilterBar.Done) -> None:
        """Returns from the filter to the list."""
        self.query_one(Table).focus()

    def action_filter(self) -> None:
        """Opens the filter."""
        self.query_one(FilterBar).open()

    def action_back(self) -> None:
        """Clears the filter."""
        self.query_one(FilterBar).clear()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Back applies to the filter here."""
        if action == "back":
            return self.is_composed and bool(self.query_one(FilterBar).value)
        return True
