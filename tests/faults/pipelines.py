"""Pipelines for faults, made of a seed, that know what must become of them whatever is killed. Pure.

Every job prints numbered lines; what it prints is known in advance, to the byte.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

IMAGE = "longshore/busybox:test"
MOVES = "  retry: {max: 2, when: [runner_system_failure]}\n"
RETRIES = 2
LARGE = random.Random(0).randbytes(3 << 19).hex()
"""A file by which a checkout is large enough for layers."""
UNTOUCHED = f'[ "$(sha256sum <large.txt)" = "{hashlib.sha256(LARGE.encode()).hexdigest()}  -" ]'
"""Fails if another job's writes to that file are seen."""
NOT_MADE = "grep: made.txt: No such file or directory"
"""What `last`, which runs whatever has become of `make`, prints where that was canceled or its container killed."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The file, and by job how it has to end and how many lines it prints."""

    text: str
    files: dict[str, str] = field(default_factory=dict)  # of the repository, besides
    statuses: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    moving: frozenset[str] = frozenset()
    mark: str = ""

    def printed(self, job: str) -> list[str]:
        """The lines that the job prints, but for the echo of its commands."""
        return [f"L {number} {self.mark}" for number in range(self.lines[job])]


def _script(mark: str, lines: int, pause_every: int, *more: str) -> str:
    pause = f"; [ $((i % {pause_every})) != 0 ] || sleep 0.1" if pause_every else ""
    loop = f'i=0; while [ $i -lt {lines} ]; do echo "L $i {mark}"; i=$((i + 1)){pause}; done'
    return "  script:\n" + "".join(f"    - '{command}'\n" for command in (loop, *more))


def make(chance: random.Random) -> Pipeline:
    """A pipeline of a handful of jobs of a few seconds in all, in a small or a large repository."""
    files = {"large.txt": LARGE} if chance.random() < 0.5 else {}
    mark = f"{chance.getrandbits(64):016x}"
    text = [f"default: {{image: {IMAGE}}}\nstages: [make, use, last]\n"]
    statuses: dict[str, str] = {}
    lines: dict[str, int] = {}
    moving = set()

    def add(name: str, head: str, *more: str, status: str = "success", slow: bool = True) -> None:
        if files:
            more = (UNTOUCHED, f"echo {mark} >>large.txt", *more)
        count = chance.randint(5, 40) if slow else chance.randint(2000, 20000)
        text.append(f"{name}:\n{head}{_script(mark, count, chance.randint(1, 4) if slow else 0, *more)}")
        statuses[name], lines[name] = status, count

    add("make", "  stage: make\n  artifacts: {paths: [made.txt]}\n", f"echo {mark} > made.txt")
    add("loud", "  stage: make\n", slow=False)
    if chance.random() < 0.5:
        add("bad", "  stage: make\n  allow_failure: true\n", "exit 3", status="failed")
    if chance.random() < 0.3:
        service = f'  services: [{{name: {IMAGE}, alias: box, command: ["sleep", "1000"]}}]\n'
        add("served", f"  stage: make\n{service}")
    add("use", "  stage: use\n  needs: [make]\n", f"grep {mark} made.txt >/dev/null")
    add("chain", "  stage: use\n  needs: [use]\n", slow=False)
    if chance.random() < 0.6:
        add("moving", f"  stage: make\n  needs: []\n{MOVES}")
        moving.add("moving")
    add("last", "  stage: last\n  when: always\n", f"grep {mark} made.txt >/dev/null")
    return Pipeline("".join(text), files, statuses, lines, frozenset(moving), mark)
