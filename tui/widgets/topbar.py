"""The bar at the top: the main pages with their keys, and how the connection stands."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tui.model import Connection

PAGES = (("1", "runs", "Runs"), ("2", "workers", "Workers"), ("3", "feed", "Feed"))
CONNECTIONS = {
    Connection.CONNECTING: ("◌ connecting to", "$text-warning"),
    Connection.ONLINE: ("●", "$text-success"),
    Connection.RECONNECTING: ("✗ connection lost, reconnecting to", "bold $text-error"),
    Connection.REFUSED: ("✗ not let in by", "bold $text-error"),
}


class TopBar(Widget):
    """Shows where one is; a click on a page goes there."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    TopBar {
        dock: top;
        height: 1;
        padding: 0 1;
        background: $panel;
        color: $foreground;
        link-style: not underline;
        link-background: transparent;
        link-color: $foreground;
    }
    """
    page: reactive[str] = reactive("runs")
    address: reactive[str] = reactive("")
    connection: reactive[Connection] = reactive(Connection.CONNECTING)
    facts: reactive[str] = reactive("")

    def render(self) -> Content:
        """Pages at the left, connection at the right."""
        narrow = self.size.width < 76
        parts = [Content("" if narrow else "Longshore ").stylize("bold")]
        for key, name, title in PAGES:
            style = "bold reverse" if name == self.page else ""
            page = Content.assemble((f" {key} ", "$footer-key-foreground"), (f"{title} ", "")).stylize(style)
            parts.append(page.stylize(f"@click=app.show_page({name!r})"))
        left = Content("").join(parts)
        words, style = CONNECTIONS[self.connection]
        address = self.address.removeprefix("tcp://")
        right = Content.assemble((f"{words} {address}" if not narrow else words.split(",")[0], style))
        if self.facts and not narrow:
            right = Content.assemble((f"{self.facts}   ", "$foreground 60%"), right)
        gap = self.size.width - left.cell_length - right.cell_length
        return Content.assemble(left, " " * max(1, gap), right)
