#!/usr/bin/env python3
"""Makes docs/images/*.svg: the dashboard during a real pipeline run in Docker on two real workers.

    .venv/bin/python scripts/screenshots.py

Nothing in the pictures is staged: the script starts a coordinator and two workers, lets two runs finish, and takes the
pictures in the middle of the third. Only machine paths and ports are replaced by fixed values.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from textual.pilot import Pilot

from protocol.client import Client
from protocol.statuses import ENDED, ExecutionStatus
from tui.app import LongshoreApp

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
LONGSHORE = Path(sys.executable).with_name("longshore")
SIZE = (124, 34)
SHOWN_ADDRESS = "127.0.0.1:7700"
FILES = {
    ".gitlab-ci.yml": """\
default:
  image: longshore/demo
stages: [build, test, package, deploy]

compile:
  stage: build
  script: [./steps.sh compile 6, mkdir -p out && echo built >out/app]
  artifacts: {paths: [out/]}
assets:
  stage: build
  script: [./steps.sh assets 4, mkdir -p public && echo css >public/site.css]
  artifacts: {paths: [public/]}
dependencies:
  stage: build
  script: [./steps.sh dependencies 3]

unit:
  stage: test
  needs: [compile]
  script: [./steps.sh unit 14]
integration:
  stage: test
  needs: [compile, dependencies]
  script: [./integration.sh, ./steps.sh report 18]
browser:
  stage: test
  needs: [compile, assets]
  parallel: 2
  script: [./steps.sh browser 16]
lint:
  stage: test
  needs: []
  allow_failure: true
  script: ['echo "src/basket.py:12 line too long"', exit 1]

container:
  stage: package
  needs: [unit, assets]
  script: [./steps.sh container 4]
scan:
  stage: package
  needs: [dependencies]
  script: [./steps.sh scan 8]

staging:
  stage: deploy
  script: [echo "staged"]
production:
  stage: deploy
  when: manual
  script: [echo "deployed"]
""",
    "steps.sh": """\
#!/bin/sh
for n in $(seq 1 $2); do echo "$1: step $n of $2"; sleep 0.5; done
""",
    "integration.sh": """\
#!/bin/sh
printf '\\033[0Ksection_start:%s:database[collapsed=true]\\r\\033[0KSet up the database\\n' "$(date +%s)"
echo "create table orders"
echo "create table customers"
printf '\\033[0Ksection_end:%s:database\\r\\033[0K\\n' "$(date +%s)"
printf '\\033[1;36mIntegration tests\\033[0m\\n'
for t in orders basket login search checkout refund; do
    printf '\\033[32mPASS\\033[0m %s\\n' "$t"
    sleep 0.3
done
""",
}
"""A repository to run: a web shop's pipeline, whose jobs mostly sleep."""


def eventually(claim: Callable[[], object], within: float = 120.0) -> None:
    """Waits until `claim` is true."""
    deadline = time.monotonic() + within
    while not claim():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {within} s: {claim}")
        time.sleep(0.05)


def commit(folder: Path, title: str) -> None:
    """Creates a repository in the folder, or adds a commit to it."""
    git = ["git", "-c", "user.name=Dana", "-c", "user.email=dana@example.com"]
    commands = [["add", "-A"], ["commit", "-q", "--allow-empty", "-m", title]]
    if not (folder / ".git").exists():
        commands.insert(0, ["init", "-q", "-b", "main"])
    for command in commands:
        subprocess.run([*git, *command], cwd=folder, check=True)


class Machine:
    """The coordinator, the workers, and a repository to run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "shop"
        self.repository.mkdir()
        for name, text in FILES.items():
            (self.repository / name).write_text(text)
            (self.repository / name).chmod(0o755)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = dict(os.environ)
        address_file = folder / "address"
        with address_file.open("wb") as out:
            self.start("coordinator", "--bind", "tcp://127.0.0.1:0", stdout=out)
        eventually(lambda: address_file.read_text().strip())
        self.address = address_file.read_text().strip()
        self.environment["LONGSHORE_COORDINATOR"] = self.address
        for name, label in (("pier-1", "fast"), ("pier-2", "arm64")):
            self.start("worker", "--coordinator", self.address, "--name", name, "--slots", "3", "--label", label)
        self.client = Client(self.address)
        eventually(lambda: len(self.client.workers()) == 2)

    def start(self, *arguments: str, stdout: object = subprocess.DEVNULL) -> None:
        """Starts a longshore process."""
        state = self.folder / f"state-{len(self.processes)}"
        environment = {**self.environment, "LONGSHORE_STATE": str(state)}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen([LONGSHORE, *arguments], env=environment, stdout=stdout, stderr=log)  # type: ignore[call-overload]
        self.processes.append(process)

    def run(self, title: str) -> int:
        """Commits and runs the pipeline; returns the run's id."""
        commit(self.repository, title)
        command = [LONGSHORE, "run", "--detach"]
        done = subprocess.run(command, cwd=self.repository, env=self.environment, stdout=subprocess.PIPE, check=True)
        return int(re.search(rb"\d+", done.stdout)[0])  # type: ignore[index]

    def finish(self, run: int) -> None:
        """Waits until a run has ended, or only manual jobs are left."""
        left = (*ENDED, ExecutionStatus.MANUAL)
        eventually(lambda: all(job.status in left for s in self.client.get_run(run).stages for job in s.jobs))

    def job_runs(self, run: int, name: str) -> bool:
        """Whether a job is running."""
        jobs = [job for stage in self.client.get_run(run).stages for job in stage.jobs if job.name == name]
        return bool(jobs) and jobs[0].status is ExecutionStatus.RUNNING

    def stop(self) -> None:
        """Ends all processes."""
        self.client.close()
        for process in reversed(self.processes):
            process.terminate()
            process.wait(30)


class Photographer:
    """Takes pictures of a running app."""

    def __init__(self, app: LongshoreApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def settle(self, shows: str = "") -> None:
        """Waits until the screen shows a text."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            await self.pilot.pause(0.1)
            if shows.replace(" ", "&#160;") in self.app.export_screenshot():
                return
        self.take("failed")
        raise SystemExit(f"the dashboard does not show {shows!r}: see docs/images/failed.svg")

    def take(self, name: str) -> None:
        """Writes a picture."""
        svg = self.app.export_screenshot(title="longshore tui")
        shown = self.app.address.removeprefix("tcp://")
        svg = svg.replace(shown, SHOWN_ADDRESS.rjust(len(shown)))
        svg = re.sub(r"@font-face\s*\{[^}]*\}\s*", "", svg)  # fonts on a remote server
        svg = svg.replace("Fira Code", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono")
        svg = re.sub(r"terminal-\d+-", f"{name}-", svg)
        IMAGES.mkdir(parents=True, exist_ok=True)
        (IMAGES / f"{name}.svg").write_text(svg + "\n")
        print(f"docs/images/{name}.svg")


async def photograph(address: str, work: Callable[[Photographer], Awaitable[None]]) -> None:
    """Opens the dashboard and lets `work` use it."""
    app = LongshoreApp(address)
    async with app.run_test(size=SIZE) as pilot:
        await work(Photographer(app, pilot))


async def tour(camera: Photographer) -> None:
    """All screens, during the third run."""
    press = camera.pilot.press
    await camera.settle("Progress")
    camera.take("runs")
    await press("enter")
    await camera.settle("integration")
    await press("right", "down")
    await camera.settle("left")
    await camera.settle("checkout")
    camera.take("dashboard")
    await press("v")
    await camera.settle("staging")
    camera.take("graph")
    await press("v", "enter")
    await camera.settle("step 2 of")
    camera.take("job")
    await press("2")
    await camera.settle("pier-2")
    camera.take("workers")
    await press("3")
    await camera.settle("What")
    camera.take("feed")


def main() -> None:
    """Takes all pictures."""
    subprocess.run([ROOT / "scripts" / "images.sh", "demo"], check=True, stdin=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory(prefix="longshore-") as folder:
        machine = Machine(Path(folder))
        try:
            for title in ("Sell shoes", "Sell hats too"):
                machine.finish(machine.run(title))
            run = machine.run("Let the basket remember its owner")
            eventually(lambda: machine.job_runs(run, "integration"))
            asyncio.run(photograph(machine.address, tour))
            machine.finish(run)
        finally:
            machine.stop()


if __name__ == "__main__":
    main()
