"""A line to type a filter into; out of sight while there is none."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label


class FilterBar(Horizontal):
    """Opened with `/`; Enter keeps the filter, Esc takes it away."""

    class Changed(Message):
        """The filter's text has changed."""

        def __init__(self, value: str) -> None:
            super().__init__()
            self.value = value

    class Done(Message):
        """The typing has ended; the filter stays as it is."""

    DEFAULT_CSS = """
    FilterBar { height: 1; display: none; background: $boost; }
    FilterBar Label { width: auto; padding: 0 1; color: $text-accent; text-style: bold; }
    FilterBar Input { width: 1fr; background: $boost; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,down", "done", "Keep it"),
        Binding("escape", "clear", "Take it away", key_display="esc"),
    ]

    def __init__(self, placeholder: str = "", *, sign: str = "/", id: str | None = None) -> None:
        super().__init__(id=id)
        self._placeholder = placeholder
        self._sign = sign

    def compose(self) -> ComposeResult:
        """The sign and the line."""
        yield Label(self._sign, markup=False)
        yield Input(placeholder=self._placeholder, compact=True)

    @property
    def value(self) -> str:
        """The filter; empty if there is none."""
        inputs = self.query(Input)
        return inputs.first().value if inputs else ""

    def open(self) -> None:
        """Shows the line and takes the keys."""
        self.display = True
        self.screen.set_focus(self.query_one(Input))  # at once: what is typed next is for the line already

    def clear(self) -> None:
        """Takes the filter away."""
        self.query_one(Input).value = ""
        self.display = False
        self.post_message(self.Done())

    def action_clear(self) -> None:
        """Takes the filter away."""
        self.clear()

    def action_done(self) -> None:
        """Keeps the filter."""
        self.post_message(self.Done())

    def on_input_changed(self, event: Input.Changed) -> None:
        """Tells the screen."""
        event.stop()
        self.post_message(self.Changed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keeps the filter."""
        event.stop()
        self.display = bool(event.value)
        self.post_message(self.Done())
