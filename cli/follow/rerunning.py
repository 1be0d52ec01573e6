"""`run --watch`: runs a pipeline again whenever its files change.

Each run is a process of its own, `longshore run` with the same options, which ends as after Ctrl-C when its files are
outdated. This process decides what runs again.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Event, Thread
from types import FrameType

from cli.submit.reuse import followers
from pipeline import Compilation
from pipeline.touched import touched_jobs
from protocol.display import clean
from protocol.errors import LongshoreError

QUIET_MS = 200
"""Milliseconds without a change after which the changes so far count: an editor writes several files at once."""
MOST_NAMED = 3
"""Files named in a line."""
GLOBAL_OPTIONS = ("-C", "--coordinator")


def own_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments of the verb among those of this process, without `--watch`."""
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        rest = rest[2:] if rest[0] in GLOBAL_OPTIONS else rest[1:]
    return [argument for argument in rest[1:] if argument != "--watch"]


class Watch:
    """Runs `longshore run ARGUMENTS` for the project in `root`, again and again. `compile_now` gives its jobs; what is
    in `output` are files that the runs write.
    """

    def __init__(
        self, root: Path, arguments: Sequence[str], compile_now: Callable[[], Compilation], output: Path | None = None
    ) -> None:
        self._root = root
        self._arguments = list(arguments)
        self._compile = compile_now
        self._output = None if output is None else output.resolve()
        self._run: subprocess.Popen[bytes] | None = None
        self._outdated: set[str] | None = None  # files changed since the last success; None: all
        self._stop = Event()

    def until_interrupted(self) -> int:
        """Runs until Ctrl-C or another signal ends this process; returns the exit status."""
        from watchfiles import watch

        status = 0

        def stop(number: int, _frame: FrameType | None) -> None:
            nonlocal status
            status = status or 128 + number
            self._stop.set()
            if self._run is not None and number != signal.SIGINT:  # a terminal sends SIGINT to both
                self._run.send_signal(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        self._start([])
        for changes in watch(
            self._root, watch_filter=None, step=QUIET_MS, rust_timeout=500, stop_event=self._stop, raise_interrupt=False
        ):
            changed = self._that_count({path for _, path in changes})
            if changed:
                self._again(changed)
        if self._run is not None:
            self._run.wait()
        return status

    def _again(self, changed: set[str]) -> None:
        before, self._run = self._run, None
        if before is not None and before.poll() is None:
            _say(f"{_named(changed)} changed: canceling the run of the files before")
            before.send_signal(signal.SIGINT)
            before.wait()
        elif before is not None and before.returncode == 0:
            self._outdated = set()
        if self._outdated is not None:
            self._outdated |= changed
        if self._stop.is_set():
            return
        try:
            chosen = self._chosen()
        except LongshoreError as error:
            for line in str(error).splitlines():
                _say(line)
            _say("waiting for changes")
            return
        _say(f"{_named(changed)} changed: {'running all jobs' if chosen is None else f'running {_named(chosen)}'}")
        if chosen is None or chosen:
            self._start([] if chosen is None else [*(f"--job={name}" for name in sorted(chosen)), "--no-needs"])

    def _chosen(self) -> set[str] | None:
        """The jobs to run again; None for all. Raises LongshoreError if the pipeline file is invalid."""
        compilation = self._compile()
        if self._outdated is None or _is_partial(self._arguments):
            return None
        sources = {source.file for source in compilation.sources}
        if self._outdated & sources:
            return None
        touched = touched_jobs(compilation, self._outdated)
        if not touched:
            return set()
        kept = followers(compilation.plan, touched)
        return None if len(kept) == len(compilation.plan.jobs) else kept

    def _start(self, chosen: list[str]) -> None:
        command = [sys.executable, "-m", "cli", "run", "--cancel-on-interrupt", *self._arguments, *chosen]
        self._run = subprocess.Popen(command)
        Thread(target=self._wait, args=(self._run,), name="run", daemon=True).start()

    def _wait(self, run: subprocess.Popen[bytes]) -> None:
        run.wait()
        if run is self._run and not self._stop.is_set():
            _say("waiting for changes; Ctrl-C ends")

    def _that_count(self, paths: Iterable[str]) -> set[str]:
        """The changed files relative to the root, without git's own and those that it ignores."""
        ours = [Path(path) for path in paths]
        if self._output is not None:
            ours = [path for path in ours if not path.is_relative_to(self._output)]
        names = {str(path.relative_to(self._root)) for path in ours}
        names = {name for name in names if ".git" not in Path(name).parts and not (self._root / name).is_dir()}
        if not names:
            return names
        asked = "\0".join(sorted(names)).encode(errors="surrogateescape")
        ignored = subprocess.run(
            ["git", "check-ignore", "-z", "--stdin"], cwd=self._root, input=asked, capture_output=True, check=False
        )
        return names - set(ignored.stdout.decode(errors="surrogateescape").split("\0"))


def _is_partial(arguments: Sequence[str]) -> bool:
    """Whether the user has chosen the jobs."""
    return any(argument.split("=")[0] in ("--job", "--from", "--no-needs") for argument in arguments)


def _named(names: Iterable[str]) -> str:
    every = sorted(names)
    more = f" and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
    return ", ".join(every[:MOST_NAMED]) + more if every else "no job"


def _say(text: str) -> None:
    print(f"longshore: {time.strftime('%H:%M:%S')} {clean(text)}", file=sys.stderr, flush=True)
