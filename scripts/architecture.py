"""Generates the picture and the table of docs/architecture.md from the code's imports.

    python scripts/architecture.py          updates the page
    python scripts/architecture.py --check  exits with status 1 if the page is out of date

A room is a folder of a package, or a module beside its folders. The picture omits arrows that follow from others. A
room's purpose is the first paragraph of its docstring. A circle of imports between rooms is an error.
"""

from __future__ import annotations

import ast
import re
import sys
from graphlib import CycleError, TopologicalSorter
from itertools import product
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the packages of this checkout, whichever one is installed
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = ("cli", "pipeline", "coordinator", "daemon", "tui", "protocol")
WHOLE = ("pipeline", "protocol")
"""Packages without folders: one room each."""
DEEPER = "daemon.executors."
"""The package whose folders, the executors, are rooms of their own."""

Arrows = set[tuple[str, str]]


def room_of(module: str) -> str:
    """A module's room: `daemon.logs.sender` is in `daemon.logs`, `daemon.worker` is its own."""
    parts = module.split(".")
    if parts[0] in WHOLE:
        return parts[0]
    return ".".join(parts[: 3 if module.startswith(DEEPER) and (ROOT / Path(*parts[:3])).is_dir() else 2])


def arrows_of(graph: grimp.ImportGraph) -> Arrows:
    """Imports between rooms, as (importer, imported)."""
    return {
        (room_of(importer), room_of(imported))
        for importer in graph.modules
        if not importer.endswith("__main__")
        for imported in graph.find_modules_directly_imported_by(importer)
        if room_of(importer) != room_of(imported)
    }


def reduced(arrows: Arrows) -> Arrows:
    """Transitive reduction: drops arrows that follow from others."""
    reach = set(arrows)
    nodes = {node for arrow in arrows for node in arrow}
    for middle, start, end in product(nodes, nodes, nodes):
        if (start, middle) in reach and (middle, end) in reach:
            reach.add((start, end))
    return {(a, b) for a, b in arrows if not any((a, c) in reach and (c, b) in reach for c in nodes - {a, b})}


def circles(arrows: Arrows) -> list[str]:
    """The rooms of an import circle, direct or indirect; empty if there is none."""
    try:
        tuple(TopologicalSorter({a: {b for c, b in arrows if c == a} for a, _ in arrows}).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def picture(arrows: Arrows, rooms: list[str]) -> str:
    """A Mermaid flowchart: packages with their rooms, arrows between rooms of one package and between packages."""
    lines = ["```mermaid", "flowchart TD"]
    for package in PACKAGES:
        mine = [room for room in rooms if room.split(".")[0] == package and room not in PACKAGES]
        if not mine:
            lines.append(f'  {package}_["{package}"]')
            continue
        lines.append(f'  subgraph {package}_["{package}"]')
        lines += [f'    {node(room)}["{room.partition(".")[2].replace(".", "/")}"]' for room in mine]
        inner = {(a, b) for a, b in arrows if a in mine and b in mine}
        lines += [f"    {node(a)} --> {node(b)}" for a, b in sorted(reduced(inner))]
        lines.append("  end")
    between = {(a.partition(".")[0], b.partition(".")[0]) for a, b in arrows}
    lines += [f"  {a}_ --> {b}_" for a, b in sorted(reduced({(a, b) for a, b in between if a != b}))]
    return "\n".join([*lines, "```"])


def node(room: str) -> str:
    """A valid Mermaid node name."""
    return room.replace(".", "_")


def table(arrows: Arrows, rooms: list[str]) -> str:
    """One row per room: purpose, importers, tests."""
    lines = ["| room | purpose | imported by | tests |", "| --- | --- | --- | --- |"]
    for room in rooms:
        users = sorted({a for a, b in arrows if b == room and a.split(".")[0] == room.split(".")[0]})
        users += sorted({a.split(".")[0] for a, b in arrows if b == room and a.split(".")[0] != room.split(".")[0]})
        shown = ", ".join(f"`{user.replace('.', '/')}`" for user in users) or "nobody"
        lines.append(f"| `{path_of(room).relative_to(ROOT)}` | {purpose(room)} | {shown} | `{tests_of(room)}` |")
    return "\n".join(lines)


def path_of(room: str) -> Path:
    """A room's folder or file."""
    path = ROOT / room.replace(".", "/")
    return path if path.is_dir() else path.with_suffix(".py")


def tests_of(room: str) -> Path:
    """A room's tests: the folder or file of its name below `tests/`, else the nearest folder above."""
    *folders, name = room.split(".")
    place = Path("tests", *folders)
    for candidate in (place / name, place / f"test_{name}.py"):
        if (ROOT / candidate).exists():
            return candidate
    while not (ROOT / place).is_dir():
        place = place.parent
    return place


def purpose(room: str) -> str:
    """The first paragraph of a room's docstring. Raises SystemExit if it has none."""
    path = path_of(room)
    path = path / "__init__.py" if path.is_dir() else path
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    if not text:
        raise SystemExit(f"{path.relative_to(ROOT)} has no docstring that states its purpose")
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def page() -> str:
    """The up-to-date page."""
    graph = grimp.build_graph(*PACKAGES)
    arrows = arrows_of(graph)
    if circle := circles(arrows):
        raise SystemExit(f"rooms import each other in a circle: {' -> '.join(circle)}")
    rooms = sorted(
        {room_of(module) for module in graph.modules}, key=lambda room: (PACKAGES.index(room.split(".")[0]), room)
    )
    text = PAGE.read_text()
    for name, made in (("picture", picture(arrows, rooms)), ("rooms", table(arrows, rooms))):
        begin, end = f"<!-- {name}: made by scripts/architecture.py -->\n", f"\n<!-- end of {name} -->"
        text = re.sub(
            f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, b=begin, m=made, e=end: b + m + e, text, flags=re.DOTALL
        )
    return text


def main() -> int:
    made = page()
    if "--check" in sys.argv:
        return int(made != PAGE.read_text())
    PAGE.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
