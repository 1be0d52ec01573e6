"""The verb `doctor`: checks the prerequisites of runs, and finds and removes leftovers in Docker."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from cli.options.common import Target, coordinator_option
from protocol.errors import LongshoreError

if TYPE_CHECKING:
    from cli.session.session import Session
    from daemon.executors.docker.api_client import DockerClient
    from daemon.executors.docker.checkup import Check
    from daemon.executors.docker.inventory import Leftover, WorkersReport

SIGNS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}


@click.command("doctor")
@click.option("--clean", "cleans", is_flag=True, help="Remove leftovers from Docker.")
@click.option(
    "--force", is_flag=True, help="With --clean: also remove containers that a dead worker would recover on restart."
)
@click.option("--yes", is_flag=True, help="With --clean: skip the confirmation prompt.")
@click.option("--only", metavar="ID", help="Consider only the coordinator with this id or id prefix.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of lines.")
@coordinator_option
def doctor_command(where: Target, cleans: bool, force: bool, yes: bool, only: str | None, as_json: bool) -> int:
    """Check the prerequisites of runs, and list leftovers in Docker. Changes nothing without --clean."""
    from daemon.executors.docker.api_client import DockerClient
    from daemon.executors.docker.checkup import check_engine, check_state

    if (force or yes) and not cleans:
        raise click.UsageError("--force and --yes require --clean")
    engine = DockerClient(patience=0)
    from cli.session.host_checks import check_host

    checks = [*check_engine(engine), *check_state(where.state)]
    there = checks[0].status == "ok"
    leftovers: list[Leftover] = []
    with closing(_Coordinators(where)) as coordinators:
        checks.append(coordinators.check())
        checks += check_host(where, serves=coordinators.served)
        if there:
            leftovers = _leftovers(engine, coordinators, only or "")
    if not as_json:
        _show(checks, leftovers)
    gone: list[Leftover] = []
    problems: list[str] = []
    if cleans and there and (yes or as_json or _confirmed(leftovers, force)):
        from daemon.executors.docker.inventory import clean

        gone, problems = clean(engine, leftovers, force=force)
    if as_json:
        from cli.render.json_views import print_json

        print_json(_document(checks, leftovers, gone, problems))
    elif cleans:
        click.echo(f"removed: {_counted(gone) or 'nothing'}")
        for problem in problems:
            click.echo(f"not removed: {problem}", err=True)
    return 1 if problems or any(check.status == "error" for check in checks) else 0


class _Coordinators:
    """The named coordinator, or that of the state directory, as the source of its workers' state."""

    def __init__(self, where: Target) -> None:
        from cli.session.session import reading_session

        self._where = where
        self._session: Session | None = None
        self._failure = ""
        if where.coordinator is None and not (where.state / "owner.lock").exists():
            return  # no run yet; a check must create nothing
        try:
            self._session = reading_session(where)
        except LongshoreError as error:
            self._failure = str(error)

    @property
    def served(self) -> bool:
        """Whether a coordinator runs here."""
        from cli.session.session import ReadingSession

        return self._session is not None and not isinstance(self._session, ReadingSession)

    def check(self) -> Check:
        from cli.session.session import ReadingSession
        from daemon.executors.docker.checkup import Check

        if self._failure:
            return Check("coordinator", "error", self._failure, "start it, or select another one with --coordinator")
        if self._session is None or isinstance(self._session, ReadingSession):
            return Check("coordinator", "ok", "none runs here; `longshore run` starts its own")
        return Check("coordinator", "ok", f"answers at {self._session.client.address}")

    def ask(self, workers: dict[str, set[str]]) -> dict[str, WorkersReport]:
        """The coordinator's report on its own workers among these, which are grouped by coordinator."""
        from cli.session.session import ReadingSession
        from daemon.executors.docker.inventory import WorkersReport

        if self._session is None:
            return {}
        client = self._session.client
        own = client.welcome.coordinator
        names = workers.get(own, set())
        if not names:
            return {}
        views = {view.name: view for view in client.workers()}
        busy = frozenset(name for name in names if name in views and (views[name].jobs or views[name].kept))
        if isinstance(self._session, ReadingSession):  # no worker connects to it; it knows the database only
            return {own: WorkersReport(busy=busy)}
        online = frozenset(name for name in names if name in views and views[name].status != "offline")
        return {own: WorkersReport(gone=frozenset(client.gone_workers(sorted(names))), busy=busy | online)}

    def close(self) -> None:
        if self._session is not None:
            self._session.close()


def _leftovers(engine: DockerClient, coordinators: _Coordinators, only: str) -> list[Leftover]:
    """Objects of coordinators whose id begins with `only`, with their verdicts."""
    from daemon.executors.docker.inventory import find_begun, inventory, judge, owner

    things = [thing for thing in inventory(engine) if owner(thing)[0].startswith(only)]
    workers: dict[str, set[str]] = {}
    for thing in things:
        coordinator, worker = owner(thing)
        workers.setdefault(coordinator, set()).add(worker)
    reports = coordinators.ask(workers)
    return judge(things, reports, find_begun(engine, things), local=engine.endpoint.local)


def _confirmed(leftovers: list[Leftover], force: bool) -> bool:
    from daemon.executors.docker.inventory import Verdict

    chosen = [one for one in leftovers if one.verdict is Verdict.CLEAN or (force and one.verdict is Verdict.FORCE)]
    if not chosen:
        return False
    if not sys.stdin.isatty():
        raise click.UsageError("no terminal to confirm on; pass --yes")
    return click.confirm(f"Remove {_counted(chosen)}?")


def _show(checks: list[Check], leftovers: list[Leftover]) -> None:
    from protocol.display import clean

    for check in checks:
        sign, color = SIGNS[check.status]
        click.echo(f"{click.style(sign, fg=color)} {check.name}: {clean(check.message)}")
        if check.mend:
            click.echo(f"  {check.mend}")
    for line in _groups(leftovers):
        click.echo(clean(line))


def _groups(leftovers: list[Leftover]) -> Iterator[str]:
    """One line per worker and verdict: count, age, reason and remedy."""
    from cli.render.phrases import duration
    from daemon.executors.docker.inventory import Verdict, owner

    hints = {
        Verdict.KEEP: "",
        Verdict.CLEAN: "; `longshore doctor --clean` removes it",
        Verdict.FORCE: "; `longshore doctor --clean --force` removes it anyway",
    }
    groups: dict[tuple[tuple[str, str], Verdict, str], list[Leftover]] = {}
    for one in leftovers:
        groups.setdefault((owner(one.thing), one.verdict, one.reason), []).append(one)
    if not groups:
        yield "No leftovers in Docker."
    for ((coordinator, worker), verdict, reason), ones in sorted(groups.items(), key=lambda item: item[0]):
        oldest = time.time() - min(one.thing.created for one in ones)
        whose = f"worker {worker} of coordinator {coordinator[:12]}"
        yield f"In Docker, of {whose}: {_counted(ones)}, up to {duration(oldest)} old: {reason}{hints[verdict]}"


def _counted(leftovers: list[Leftover]) -> str:
    counts = Counter(one.thing.kind for one in leftovers)
    return ", ".join(f"{count} {kind if count > 1 else kind[:-1]}" for kind, count in sorted(counts.items()))


def _document(
    checks: list[Check], leftovers: list[Leftover], gone: list[Leftover], problems: list[str]
) -> dict[str, Any]:
    from cli.render.json_views import rfc3339

    removed = {(one.thing.kind, one.thing.id) for one in gone}
    return {
        "checks": [
            {"name": one.name, "status": one.status, "message": one.message, "mend": one.mend or None} for one in checks
        ],
        "leftovers": [
            {
                "kind": one.thing.kind[:-1],
                "name": one.thing.name,
                "id": one.thing.id,
                "coordinator": one.thing.labels.get("longshore.coordinator", ""),
                "worker": one.thing.labels.get("longshore.worker", ""),
                "attempt": one.thing.attempt,
                "created": rfc3339(one.thing.created),
                "worker_is": one.life.value,
                "verdict": one.verdict.value,
                "reason": one.reason,
                "removed": (one.thing.kind, one.thing.id) in removed,
            }
            for one in leftovers
        ],
        "problems": problems,
    }
