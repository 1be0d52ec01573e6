"""A filter's input line; hidden while there is no filter."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label


class FilterBar(Horizontal):
    """Opened with `/`; Enter keeps the filter, Esc clears it."""

    class Changed(Message):
        """The filter's text has changed."""

        def __init__(self, value: str) -> None:
            super().__init__()
            self.value = value

    class Done(Message):
        """Typing has ended; the filter stays."""

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
        """The symbol and the input."""
        yield Label(self._sign, markup=False)
        yield Input(placeholder=self._placeholder, compact=True)

    @property
    def value(self) -> str:
        """The filter; empty if there is none."""
        inputs = self.query(Input)
        return inputs.first().value if inputs else ""

    def open(self) -> None:
        """Shows and focuses the line."""
        self.display = True
        self.screen.set_focus(self.query_one(Input))  # at once: the next key is already for this line

    def clear(self) -> None:
        """Clears the filter."""
        self.query_one(Input).value = ""
        self.display = False
        self.post_message(self.Done())

    def action_clear(self) -> None:
        """Clears the filter."""
        self.clear()

    def action_done(self) -> None:
        """Keeps the filter."""
        self.post_message(self.Done())

    def on_input_changed(self, event: Input.Changed) -> None:
        """Notifies the screen."""
        event.stop()
        self.post_message(self.Changed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keeps the filter."""
        event.stop()
        self.display = bool(event.value)
        self.post_message(self.Done())
