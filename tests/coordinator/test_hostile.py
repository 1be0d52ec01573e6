"""Whatever well-formed nonsense a worker or client says, the coordinator makes no mistake at it and goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol import messages as m
from protocol.codec import decode_for_client, encode
from protocol.plan import JobPlan, Plan, Variable
from protocol.statuses import ExecutionStatus as S
from protocol.workspace import GitWorkspace, TarWorkspace
from tests.support.coordinator_process import Running, WireWorker
from tests.support.eventually import eventually
from tests.support.plans import job, plan
from tests.support.strategies import TEXT, structs

FROM_WORKER = [kind for kind in get_args(m.FromWorker) if kind not in (m.Hello, m.Goodbye)]
FROM_CLIENT = [kind for kind in get_args(m.FromClient) if kind is not m.ClientHello]
KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "attempt": st.sampled_from(["1.1", "2.1", "1.2"]),
    "run": st.integers(0, 3),
    "job": st.sampled_from(["a", "b", None]),
    "worker": st.sampled_from(["w1", "w2"]),
    "seq": st.integers(1, 9),
    "status": st.sampled_from(list(S)),
    "stream": st.sampled_from(["job", "service-db"]),
    "offset": st.integers(-5, 20),
    "limit": st.integers(-5, 20),
    "before": st.integers(-5, 20) | st.none(),
}
"""What makes a message concern something that is there."""


def plans() -> st.SearchStrategy[Plan]:
    """Plans that get as far as the database, with texts of any kind in them."""
    jobs = st.builds(
        JobPlan,
        name=st.sampled_from(["a", "b", "\0", "\N{SNOWMAN}"]) | TEXT,
        stage=st.sampled_from(["x", "y"]),
        script=st.lists(TEXT, max_size=2),
        variables=st.lists(st.builds(Variable, key=TEXT, value=TEXT), max_size=2),
        resource_group=TEXT | st.none(),
        tags=st.lists(TEXT, max_size=1),
        retry=structs(type(JobPlan(name="", stage="", script=[]).retry)),
        timeout=st.floats(allow_nan=False, allow_infinity=False),
        start_in=st.floats(allow_nan=False, allow_infinity=False),
        when=st.sampled_from(["on_success", "on_failure", "always", "manual", "delayed", "never"]),
    )
    return st.builds(
        Plan,
        name=TEXT,
        project=TEXT,
        project_dir=TEXT,
        stages=st.just(["x", "y"]),
        jobs=st.lists(jobs, max_size=3, unique_by=lambda each: each.name),
    )


@st.composite
def spoken(draw: st.DrawFn, kinds: list[type[m.Message]]) -> m.Message:
    """A message of one of these kinds, often about something that is there."""
    kind = draw(st.sampled_from(kinds))
    names = {field.name for field in msgspec.structs.fields(kind)}
    if kind is m.SubmitRun:
        return m.SubmitRun(
            id=draw(st.integers(0, 99)),
            token=draw(TEXT),
            plan=draw(plans()),
            source=draw(structs(m.Source)),
            workspace=draw(st.none() | structs(GitWorkspace) | structs(TarWorkspace)),
        )
    message = draw(structs(kind))
    changes = {name: draw(known) for name, known in KNOWN.items() if name in names and draw(st.integers(0, 9))}
    changes = {name: value for name, value in changes.items() if value is not None or name in ("job", "before")}
    if kind is not m.Cancel and kind is not m.Retry and changes.get("job", "") is None:
        del changes["job"]
    return msgspec.structs.replace(message, **changes)


@pytest.fixture
def running(new_database: Callable[[], str], tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path / "state", database=new_database()) as running:
        yield running


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    from_worker=st.lists(st.tuples(spoken(FROM_WORKER), st.binary(max_size=20)), min_size=5, max_size=25),
    from_client=st.lists(spoken(FROM_CLIENT), min_size=5, max_size=25),
)
def test_no_message_that_can_be_said_disturbs_the_loop(
    running: Running, from_worker: list[tuple[m.Message, bytes]], from_client: list[m.Message]
) -> None:
    coordinator = running.coordinator
    with running.client() as client:
        client.submit_run(plan(job("a"), job("b", needs=["a"])))
        worker, other = WireWorker(running.address), WireWorker(running.address, decode=decode_for_client)
        worker.hello()
        other.send(m.ClientHello(id=0, protocol=1))
        other.expect(m.Welcome)
        for (said, payload), asked in zip(from_worker, from_client, strict=False):
            worker.send(said, payload if isinstance(said, m.LogChunk) else None)
            other.send_raw(*map(bytes, encode(asked)))
        worker.settle()
        other.send(m.ClientHello(id=0, protocol=1))
        other.expect(m.Welcome)
        eventually(lambda: not coordinator.waiting)
        worker.close()
        other.close()
        client.snapshot(run=1)
    assert coordinator._stall is None
    assert coordinator.refused["internal"] == 0
    coordinator.store.load_unfinished()
