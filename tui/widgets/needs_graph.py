"""A run's jobs as a navigable dependency graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from protocol.display import clean
from protocol.views import JobView, RunSummary
from tui.presentation.eta import predecessors
from tui.presentation.formatting import child_sign, duration, elapsed, job_sign
from tui.presentation.graph_layout import Graph, Node, draw
from tui.presentation.spans import Span, fit_name, spans_width
from tui.widgets.line_widget import LineWidget
from tui.widgets.stage_columns import CRITICAL

NARROWEST = 18
"""Minimum width of a job; otherwise the longest name plus its time, if all layers fit."""
FACTS = 11
"""Cells of a job beside its name."""
LINES = 6
"""Approximate cells between two layers."""
LAYERS_SEEN = 2
"""Layers that must fit side by side, however narrow the screen."""
USUAL_WIDEST = 32
"""Width of a job with a long name if not all layers fit anyway."""


class NeedsGraph(LineWidget):
    """Jobs in layers connected by lines; the layout is recomputed only when jobs or needs change."""

    class Opened(Message):
        """A job was chosen with Enter or a second click."""

        def __init__(self, job: str) -> None:
            super().__init__()
            self.job = job

    class Moved(Message):
        """The cursor is on another job."""

        def __init__(self, job: str | None) -> None:
            super().__init__()
            self.job = job

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "open", "Open")]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._graph = Graph()
        self._node_width = NARROWEST
        self._shape: tuple[object, ...] = ()
        self._jobs: dict[str, JobView] = {}
        self._needs: dict[str, Sequence[str]] = {}
        self._stages: list[list[JobView]] = []
        self._by_row: dict[int, list[Node]] = {}
        self._critical: frozenset[str] = frozenset()
        self._runs: Mapping[int, RunSummary] = {}
        self._now = 0.0
        self._at: str | None = None

    def show(
        self, stages: list[list[JobView]], critical: frozenset[str], runs: Mapping[int, RunSummary], now: float
    ) -> None:
        """Shows the jobs of these stages as of `now`; `runs` has the child runs that they have started."""
        self._stages = stages
        self._jobs = {job.name: job for jobs in stages for job in jobs}
        self._critical, self._runs, self._now = critical, runs, now
        jobs = tuple(
            tuple((job.name, job.by_stage, tuple(job.needs), tuple(job.child_runs)) for job in jobs) for jobs in stages
        )
        shape = (self.size.width, jobs)
        if shape != self._shape:
            self._shape = shape
            self._needs = dict(predecessors(stages))
            self._draw()
            self._by_row = {}
            for node in self._graph.nodes.values():
                self._by_row.setdefault(node.y, []).append(node)
            self.virtual_size = Size(self._graph.width, self._graph.height)
        if self._at not in self._graph.nodes:
            self._at = next(iter(self._graph.nodes), None)
            self.post_message(self.Moved(self._at))
        self.refresh()

    def on_resize(self, _event: events.Resize) -> None:
        """Adapts the jobs' width, and keeps the cursor visible."""
        self.show(self._stages, self._critical, self._runs, self._now)
        if self._at is not None:
            self.select(self._at)

    def _draw(self) -> None:
        """Draws the graph with jobs as wide as fits."""
        longest = max(
            (cell_len(name) + spans_width(child_sign(job, self._runs)) for name, job in self._jobs.items()), default=0
        )
        room = self.size.width
        usual = min(USUAL_WIDEST, room // LAYERS_SEEN - LINES)
        self._node_width = max(NARROWEST, min(usual, longest + FACTS))
        self._graph = draw(self._needs, self._node_width)
        layers = 1 + max((node.layer for node in self._graph.nodes.values()), default=0)
        roomy = min(longest + FACTS, (room - self._graph.width) // layers + self._node_width)
        if roomy > self._node_width:
            self._node_width = roomy
            self._graph = draw(self._needs, roomy)

    @property
    def job(self) -> JobView | None:
        """The job under the cursor."""
        return self._jobs.get(self._at) if self._at is not None else None

    def select(self, name: str) -> None:
        """Puts the cursor on a job."""
        node = self._graph.nodes.get(name)
        if node is None:
            return
        self._at = name
        region = Region(node.x, max(0, node.y - 1), self._node_width, 3)
        self.scroll_to_region(region, animate=False, force=True, immediate=True)
        self.post_message(self.Moved(name))
        self.refresh()

    # movement

    def _step(self, layers: int, rows: int) -> None:
        """Moves to the nearest job in a direction; sideways along an edge first."""
        here = self._graph.nodes.get(self._at or "")
        if here is None:
            return
        others = [node for node in self._graph.nodes.values() if node is not here]
        if layers:
            others = [node for node in others if (node.layer - here.layer) * layers > 0]
        else:
            others = [node for node in others if node.layer == here.layer and (node.y - here.y) * rows > 0]
        if others:
            tied = self._tied(here.name)
            self.select(
                min(others, key=lambda n: (abs(n.layer - here.layer), n.name not in tied, abs(n.y - here.y))).name
            )

    def _tied(self, name: str) -> set[str]:
        return {*self._needs.get(name, ()), *(other for other, needs in self._needs.items() if name in needs)}

    def action_down(self) -> None:
        """Next job of the layer."""
        self._step(0, 1)

    def action_up(self) -> None:
        """Previous job of the layer."""
        self._step(0, -1)

    def action_left(self) -> None:
        """A job it needs."""
        self._step(-1, 0)

    def action_right(self) -> None:
        """A job that needs it."""
        self._step(1, 0)

    def action_page_down(self) -> None:
        """A screen down."""
        self.scroll_page_down(animate=False)

    def action_page_up(self) -> None:
        """A screen up."""
        self.scroll_page_up(animate=False)

    def action_top(self) -> None:
        """First job."""
        if self._graph.nodes:
            self.select(min(self._graph.nodes.values(), key=lambda node: (node.layer, node.y)).name)

    def action_bottom(self) -> None:
        """Last job."""
        if self._graph.nodes:
            self.select(max(self._graph.nodes.values(), key=lambda node: (node.layer, node.y)).name)

    def action_open(self) -> None:
        """Opens the job under the cursor."""
        if self._at is not None:
            self.post_message(self.Opened(self._at))

    def on_click(self, event: events.Click) -> None:
        """Selects a job, or opens the selected one."""
        x, y = event.x + self.scroll_offset.x, event.y + self.scroll_offset.y
        for node in self._by_row.get(y, ()):
            if node.x <= x < node.x + self._node_width:
                if node.name == self._at:
                    self.action_open()
                else:
                    self.select(node.name)

    # drawing

    def render_line(self, y: int) -> Strip:
        """A row of jobs and lines."""
        left, width = self.scroll_offset.x, self.scrollable_size.width
        row = y + self.scroll_offset.y
        spans: list[Span] = []
        x = 0
        end = max(self._graph.width, left + width)
        for node in sorted(self._by_row.get(row, ()), key=lambda node: node.x):
            spans.append((self._graph.row(row, x, node.x), "muted"))
            spans += self._node(node)
            x = node.x + self._node_width
        spans.append((self._graph.row(row, x, end), "muted"))
        return self.strip(spans, end).crop(left, left + width)

    def _node(self, node: Node) -> list[Span]:
        job = self._jobs[node.name]
        sign = job_sign(job)
        taken = elapsed(job.started_at, job.finished_at, self._now)
        time = f" {duration(taken)}" if taken is not None else ""
        mark = CRITICAL if node.name in self._critical else " "
        child = child_sign(job, self._runs)
        name = fit_name(clean(node.name), self._node_width - 5 - spans_width(child) - len(time))
        here = node.name == self._at
        spans = [
            ("❯" if here else "[", "muted"),
            (str(sign), sign.color),
            (mark, "accent"),
            (name, "strong"),
            *child,
            (time, "muted"),
            ("]", "muted"),
        ]
        if here:
            cursor = "cursor" if self.has_focus else "cursor-away"
            return [(text, cursor) for text, _ in spans]
        return spans
