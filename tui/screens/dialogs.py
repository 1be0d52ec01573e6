"""Small dialogs: a confirmation, a line of text, a pipeline file to run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label

from protocol.display import clean
from protocol.job_inputs import allowed, written
from protocol.plan import InputValue, JobInput


class Confirm(ModalScreen[bool]):
    """Confirms a destructive action: `y` proceeds, anything else does not."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape,q", "answer(False)", "No"),
        Binding("left,right,h,l", "other", "Other button", show=False),
    ]

    def __init__(self, question: str, detail: str = "") -> None:
        super().__init__()
        self._question = question
        self._detail = detail

    def compose(self) -> ComposeResult:
        """The question and two buttons; No has the focus."""
        with Vertical(classes="dialog"):
            yield Label(self._question, classes="question", markup=False)
            if self._detail:
                yield Label(self._detail, classes="detail", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Yes (y)", id="yes", variant="error")
                yield Button("No (n)", id="no")

    def on_mount(self) -> None:
        """Focuses the safe answer."""
        self.query_one("#no").focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answers."""
        self.dismiss(event.button.id == "yes")

    def action_answer(self, yes: bool) -> None:
        """Answers."""
        self.dismiss(yes)

    def action_other(self) -> None:
        """Moves to the other button."""
        self.focus_next()


class Ask(ModalScreen["str | None"]):
    """Asks for a line of text."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Never mind")]

    def __init__(self, question: str, value: str = "") -> None:
        super().__init__()
        self._question = question
        self._value = value

    def compose(self) -> ComposeResult:
        """The question and an input line."""
        with Vertical(classes="dialog"):
            yield Label(self._question, classes="question", markup=False)
            yield Input(self._value, id="answer", select_on_focus=False)
            yield Label("enter: go on   esc: never mind", classes="detail", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Answers, unless empty."""
        self.dismiss(event.value.strip() or None)


class SetInputs(ModalScreen["dict[str, str] | None"]):
    """Asks for the values of a job's inputs, prefilled with the current ones; answers with those changed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Never mind")]

    def __init__(self, question: str, specs: Mapping[str, JobInput], values: Mapping[str, InputValue]) -> None:
        super().__init__()
        self._question = question
        self._specs = specs
        self._fields = {
            name: Input(written(values.get(name, spec.default)), select_on_focus=False) for name, spec in specs.items()
        }
        self._before = {name: field.value for name, field in self._fields.items()}

    def compose(self) -> ComposeResult:
        """An input line for each input."""
        with Vertical(classes="dialog"):
            yield Label(self._question, classes="question", markup=False)
            with VerticalScroll(classes="inputs", can_focus=False):
                for name, field in self._fields.items():
                    spec = self._specs[name]
                    about = f": {spec.description}" if spec.description else ""
                    yield Label(clean(f"{name} ({allowed(spec)}){about}"), classes="detail", markup=False)
                    yield field
            yield Label("enter: start it   tab: next field   esc: never mind", classes="detail", markup=False)

    def on_mount(self) -> None:
        """Shows the name of the first field, which has the focus."""
        self.call_after_refresh(self.query_one(VerticalScroll).scroll_home, animate=False)

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        """Answers."""
        values = {name: field.value for name, field in self._fields.items()}
        self.dismiss({name: value for name, value in values.items() if value != self._before[name]})


class NewRun(ModalScreen["tuple[str, list[str]] | None"]):
    """Asks for a pipeline file to run, and its variables."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Never mind")]

    def compose(self) -> ComposeResult:
        """Two input lines."""
        with Vertical(classes="dialog"):
            yield Label("Run a pipeline file", classes="question")
            yield Label(f"of this machine, from {Path.cwd()}", classes="detail", markup=False)
            yield Input(".gitlab-ci.yml", id="file", select_on_focus=False)
            yield Input(placeholder="KEY=VALUE KEY=VALUE ... (variables, may stay empty)", id="variables")
            yield Label("enter: run it   tab: next field   esc: never mind", classes="detail")

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        """Answers, if a file is given."""
        if file := self.query_one("#file", Input).value.strip():
            self.dismiss((file, self.query_one("#variables", Input).value.split()))
