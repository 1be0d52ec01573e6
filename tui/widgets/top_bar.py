"""The bar at the top: the main pages with their keys, and the connection's state."""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from tui.client.model import ConnectionState

PAGES = (("1", "runs", "Runs"), ("2", "workers", "Workers"), ("3", "feed", "Feed"))
LEAST_GAP = 2
CONNECTIONS = {
    ConnectionState.CONNECTING: ("◌ connecting to", "$text-warning"),
    ConnectionState.ONLINE: ("●", "$text-success"),
    ConnectionState.RECONNECTING: ("✗ connection lost, reconnecting to", "bold $text-error"),
    ConnectionState.REFUSED: ("✗ rejected by", "bold $text-error"),
}


class TopBar(Widget):
    """Shows the current page; a click on a page opens it."""

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
    connection: reactive[ConnectionState] = reactive(ConnectionState.CONNECTING)
    facts: reactive[str] = reactive("")

    def render(self) -> Content:
        """Pages on the left, connection on the right."""
        pages = self._pages()
        words, style = CONNECTIONS[self.connection]
        address = self.address.removeprefix("tcp://")
        name = Content.styled("Longshore ", "bold")
        facts = Content.styled(f"{self.facts}   ", "$foreground 60%")
        where = Content.styled(f"{words} {address}", style)
        short = Content.styled(words.removesuffix(" to").split(",")[0], style)
        for left, right in (  # from longest to shortest
            (name + pages, facts + where),
            (name + pages, where),
            (pages, where),
            (pages, short),
        ):
            gap = self.size.width - LEAST_GAP - left.cell_length - right.cell_length
            if gap >= 0:
                break
        return Content.assemble(left, " " * (LEAST_GAP + max(0, gap)), right)

    def _pages(self) -> Content:
        parts = []
        for key, name, title in PAGES:
            style = "bold reverse" if name == self.page else ""
            page = Content.assemble((f" {key} ", "$footer-key-foreground"), (f"{title} ", "")).stylize(style)
            parts.append(page.stylize(f"@click=app.show_page({name!r})"))
        return Content("").join(parts)
