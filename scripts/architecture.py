"""Generates the picture and the table of docs/architecture.md from the code's imports.

    python scripts/architecture.py          updates the page
    python scripts/architecture.py --check  exits with status 1 if the page is out of date

A component is a folder of a package, or a module beside its folders; its purpose is the first paragraph of its
docstring. The picture is transitively reduced. An import cycle between components is an error.
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
PACKAGES = ("cli", "team", "compiler", "snapshots", "pipeline", "coordinator", "daemon", "tui", "web", "protocol")
WHOLE = ("team", "compiler", "snapshots", "pipeline", "protocol")
"""Packages without folders: one component each."""
DEEPER = "daemon.executors."
"""The package whose folders, the executors, are components of their own."""

Arrows = set[tuple[str, str]]


def component_of(module: str) -> str:
    """A module's component: `daemon.logs.sender` is in `daemon.logs`, `daemon.worker` is its own."""
    parts = module.split(".")
    if parts[0] in WHOLE:
        return parts[0]
    return ".".join(parts[: 3 if module.startswith(DEEPER) and (ROOT / Path(*parts[:3])).is_dir() else 2])


def arrows_of(graph: grimp.ImportGraph) -> Arrows:
    """Imports between components, as (importer, imported)."""
    return {
        (component_of(importer), component_of(imported))
        for importer in graph.modules
        if not importer.endswith("__main__")
        for imported in graph.find_modules_directly_imported_by(importer)
        if component_of(importer) != component_of(imported)
    }


def reduced(arrows: Arrows) -> Arrows:
    """The transitive reduction: without imports implied by others."""
    reach = set(arrows)
    nodes = {node for arrow in arrows for node in arrow}
    for middle, start, end in product(nodes, nodes, nodes):
        if (start, middle) in reach and (middle, end) in reach:
            reach.add((start, end))
    return {(a, b) for a, b in arrows if not any((a, c) in reach and (c, b) in reach for c in nodes - {a, b})}


def cycles(arrows: Arrows) -> list[str]:
    """The components of an import cycle; empty without one."""
    try:
        tuple(TopologicalSorter({a: {b for c, b in arrows if c == a} for a, _ in arrows}).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def picture(arrows: Arrows, components: list[str]) -> str:
    """A Mermaid flowchart: packages with their components, imports within each package and between packages."""
    lines = ["```mermaid", "flowchart TD"]
    for package in PACKAGES:
        mine = [
            component for component in components if component.split(".")[0] == package and component not in PACKAGES
        ]
        if not mine:
            lines.append(f'  {package}_["{package}"]')
            continue
        lines.append(f'  subgraph {package}_["{package}"]')
        lines += [f'    {node(component)}["{component.partition(".")[2].replace(".", "/")}"]' for component in mine]
        inner = {(a, b) for a, b in arrows if a in mine and b in mine}
        lines += [f"    {node(a)} --> {node(b)}" for a, b in sorted(reduced(inner))]
        lines.append("  end")
    between = {(a.partition(".")[0], b.partition(".")[0]) for a, b in arrows}
    lines += [f"  {a}_ --> {b}_" for a, b in sorted(reduced({(a, b) for a, b in between if a != b}))]
    return "\n".join([*lines, "```"])


def node(component: str) -> str:
    """A valid Mermaid node name."""
    return component.replace(".", "_")


def table(arrows: Arrows, components: list[str]) -> str:
    """One row per component: purpose, importers, tests."""
    lines = ["| component | purpose | imported by | tests |", "| --- | --- | --- | --- |"]
    for component in components:
        users = sorted({a for a, b in arrows if b == component and a.split(".")[0] == component.split(".")[0]})
        users += sorted(
            {a.split(".")[0] for a, b in arrows if b == component and a.split(".")[0] != component.split(".")[0]}
        )
        shown = ", ".join(f"`{user.replace('.', '/')}`" for user in users) or "none"
        lines.append(
            f"| `{path_of(component).relative_to(ROOT)}` | {purpose(component)} | {shown} | `{tests_of(component)}` |"
        )
    return "\n".join(lines)


def path_of(component: str) -> Path:
    """A component's folder or file."""
    path = ROOT / component.replace(".", "/")
    return path if path.is_dir() else path.with_suffix(".py")


def tests_of(component: str) -> Path:
    """A component's tests: the folder or file of its name below `tests/`, else the nearest folder above."""
    *folders, name = component.split(".")
    place = Path("tests", *folders)
    for candidate in (place / name, place / f"test_{name}.py"):
        if (ROOT / candidate).exists():
            return candidate
    while not (ROOT / place).is_dir():
        place = place.parent
    return place


def purpose(component: str) -> str:
    """The first paragraph of a component's docstring. Raises SystemExit if it has none."""
    path = path_of(component)
    path = path / "__init__.py" if path.is_dir() else path
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    if not text:
        raise SystemExit(f"{path.relative_to(ROOT)} has no docstring that states its purpose")
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def page() -> str:
    """The up-to-date page."""
    graph = grimp.build_graph(*PACKAGES)
    arrows = arrows_of(graph)
    if cycle := cycles(arrows):
        raise SystemExit(f"import cycle between components: {' -> '.join(cycle)}")
    components = sorted(
        {component_of(module) for module in graph.modules},
        key=lambda component: (PACKAGES.index(component.split(".")[0]), component),
    )
    text = PAGE.read_text()
    for name, made in (("picture", picture(arrows, components)), ("components", table(arrows, components))):
        begin, end = f"<!-- {name}: generated by scripts/architecture.py -->\n", f"\n<!-- end of {name} -->"
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
