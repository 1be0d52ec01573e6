"""The needs graph: every line leads from a job to the one that needs it, and nothing is drawn over anything."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.views import JobView
from tests.support.views import job_view
from tui.presentation.eta import in_order, is_barrier, predecessors
from tui.presentation.graph_layout import DOWN, LEFT, RIGHT, UP, Graph, draw

WIDTH = 10


def picture(graph: Graph) -> str:
    """The drawing as text."""
    rows = []
    for y in range(graph.height):
        row = list(graph.row(y, 0, graph.width))
        for node in graph.nodes.values():
            if node.y == y:
                row[node.x : node.x + WIDTH] = f"[{node.name}".ljust(WIDTH - 1) + "]"
        rows.append("".join(row).rstrip())
    return "\n".join(rows)


def reached(graph: Graph, name: str) -> set[str]:
    """The jobs that one gets to from a job's right side, along the lines and never back to the left."""
    ends = {(node.x - 1, node.y): node.name for node in graph.nodes.values()}
    node = graph.nodes[name]
    todo, seen, found = [(node.x + WIDTH, node.y, RIGHT)], set(), set()
    while todo:
        x, y, came = todo.pop()
        if (x, y, came) in seen:
            continue
        seen.add((x, y, came))
        if (x, y) in ends and came == RIGHT:
            found.add(ends[x, y])
            continue
        cell = graph.lines.get(y, {}).get(x, 0)
        back = {RIGHT: LEFT, UP: DOWN, DOWN: UP}[came]
        for way, dx, dy in ((RIGHT, 1, 0), (UP, 0, -1), (DOWN, 0, 1)):
            other = graph.lines.get(y + dy, {}).get(x + dx, 0)
            if cell & way and way != back and (other or (x + dx, y + dy) in ends):
                todo.append((x + dx, y + dy, way))
    return found


def test_a_chain_is_a_straight_line() -> None:
    stages = [[job_view("a", by_stage=False)], [job_view("b", _created, "a")], [job_view("c", _created, "b")]]
    assert picture(draw(predecessors(stages), WIDTH)) == "[a       ]───[b       ]───[c       ]"


def test_a_stage_that_waits_for_a_stage_has_one_trunk() -> None:
    stages = [[job_view(name) for name in "abc"], [job_view(name) for name in "de"]]
    assert picture(draw(predecessors(stages), WIDTH)).split("\n") == [
        "[a       ]─╮",
        "           │   ╭─[d       ]",
        "[b       ]─┼───┤",
        "           │   ╰─[e       ]",
        "[c       ]─╯",
    ]


_created = job_view("x").status


@st.composite
def plans(draw_from: st.DrawFn) -> list[list[JobView]]:
    """Stages of jobs with needs, as a pipeline may have them."""
    stages: list[list[JobView]] = []
    names: list[str] = []
    for number in range(draw_from(st.integers(1, 4))):
        jobs = []
        for place in range(draw_from(st.integers(1, 4))):
            needs = draw_from(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
            by_stage = draw_from(st.booleans()) and not needs
            jobs.append(job_view(f"j{number}{place}", _created, *needs, by_stage=by_stage))
        stages.append(jobs)
        names += [job.name for job in jobs]
    return stages


@settings(max_examples=150, deadline=None)
@given(stages=plans())
def test_no_job_is_drawn_over_another_and_every_line_is_there(stages: list[list[JobView]]) -> None:
    before = predecessors(stages)
    graph = draw(before, WIDTH)
    assert set(graph.nodes) == {job.name for jobs in stages for job in jobs}
    taken = {(node.x, node.y) for node in graph.nodes.values()}
    assert len(taken) == len(graph.nodes)
    for node in graph.nodes.values():
        assert not any(node.x <= x < node.x + WIDTH for x in graph.lines.get(node.y, {})), picture(graph)
        assert 0 <= node.y < graph.height
        assert node.x + WIDTH <= graph.width
    for name, needs in _needed_jobs(before).items():
        for need in needs:
            assert graph.nodes[need].layer < graph.nodes[name].layer
            assert name in reached(graph, need), f"{need} -> {name}\n{picture(graph)}"


def _needed_jobs(before: dict[str, list[str]]) -> dict[str, set[str]]:
    """What each job waits for, with barriers replaced by the jobs before them."""
    jobs: dict[str, set[str]] = {}
    for name in in_order(before):
        jobs[name] = set().union(*(jobs[need] if is_barrier(need) else {need} for need in before[name]))
    return {name: needs for name, needs in jobs.items() if not is_barrier(name)}


def test_two_thousand_jobs_are_drawn_in_a_moment() -> None:
    first = [job_view(f"a{n}") for n in range(1000)]
    second = [job_view(f"b{n}", _created, f"a{n * 7 % 1000}", f"a{n * 13 % 1000}") for n in range(1000)]
    graph = draw(predecessors([first, second]), WIDTH)
    assert len(graph.nodes) == 2000
