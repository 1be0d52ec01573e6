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
    """The file, and by job how it has to end and how many lines it prints.

    `children` are the pipelines that jobs start, by job; `projects` the files of other projects, by name.
    """

    text: str
    files: dict[str, str] = field(default_factory=dict)  # of the repository, besides
    statuses: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    moving: frozenset[str] = frozenset()
    mark: str = ""
    children: dict[str, Pipeline] = field(default_factory=dict)
    projects: dict[str, dict[str, str]] = field(default_factory=dict)

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


OTHER_PROJECT = "chaos/other"
TRIGGERS = f"""
local:
  stage: start
  trigger: {{include: child.yml, strategy: depend}}
generated:
  stage: start
  needs: [make]
  variables: {{PARENT: $CI_PIPELINE_ID}}
  trigger: {{include: [{{artifact: made.yml, job: make}}], strategy: mirror}}
other:
  stage: start
  trigger: {{project: {OTHER_PROJECT}, strategy: depend}}
free:
  stage: start
  trigger: {{include: child.yml}}
"""


def make_parent(chance: random.Random) -> Pipeline:
    """A pipeline that starts others: from a file, from what a job has generated, and of another project."""
    mark = f"{chance.getrandbits(64):016x}"
    local, other = _child(chance, mark), _child(chance, mark)
    generated = _child(chance, mark, "  needs: [{pipeline: $PARENT, job: make}]\n", f"grep {mark} made.txt >/dev/null")
    lines = {"make": chance.randint(5, 20), "last": chance.randint(1, 10)}
    made = _script(mark, lines["make"], 2, f"echo {mark} > made.txt", "cp generated.yml made.yml")
    text = [
        f"default: {{image: {IMAGE}}}\nstages: [make, start, last]\n",
        f"make:\n  stage: make\n  artifacts: {{paths: [made.txt, made.yml]}}\n{made}",
        TRIGGERS,
        f"last:\n  stage: last\n  when: always\n{_script(mark, lines['last'], 1)}",
    ]
    children = {"local": local, "generated": generated, "other": other, "free": local}
    return Pipeline(
        "".join(text),
        {"child.yml": local.text, "generated.yml": generated.text},
        dict.fromkeys(["make", "last", *children], "success"),
        lines,
        mark=mark,
        children=children,
        projects={OTHER_PROJECT: {".gitlab-ci.yml": other.text}},
    )


def _child(chance: random.Random, mark: str, head: str = "", *more: str) -> Pipeline:
    """A pipeline of two jobs; the first has these keywords and commands too."""
    lines = {"first": chance.randint(3, 20), "second": chance.randint(3, 20)}
    text = (
        f"default: {{image: {IMAGE}}}\n"
        f"first:\n{head}{_script(mark, lines['first'], 2, *more)}"
        f"second:\n  needs: [first]\n{_script(mark, lines['second'], 1)}"
    )
    return Pipeline(text, {}, dict.fromkeys(lines, "success"), lines, mark=mark)
