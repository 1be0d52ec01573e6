"""Draws the dependency graph: jobs in layers from left to right, connected by box characters. Pure.

Four steps: an item's layer is its longest chain of predecessors; long edges get a *bend* in every layer they pass; the
order within layers is chosen to minimize crossings; then each item is placed as close as possible to its neighbours.
Edges from the same jobs to the same jobs share a track, and a stage that waits for a whole stage has a single trunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tui.presentation.eta import in_order, is_barrier

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8
BOX = " ╵╷│╴╯╮┤╶╰╭├─┴┬┼"
"""Box characters, indexed by their directions."""
ROUNDS = 3
"""Sweeps over the layers; more have almost no effect."""
NODE_ROWS = 2
"""Rows per job: the job, and a blank one."""


@dataclass(slots=True, eq=False)
class Item:
    """A job, a barrier or a bend of a long edge, in its layer. `name` is empty unless drawn as a job."""

    name: str
    layer: int
    y: int = 0
    before: list[Item] = field(default_factory=list)
    after: list[Item] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Minimum number of rows."""
        return NODE_ROWS if self.name else 1


@dataclass(slots=True, frozen=True)
class Node:
    """A job's cell (its left end) and its layer."""

    name: str
    layer: int
    x: int
    y: int


@dataclass(slots=True)
class Graph:
    """A drawing. `lines` holds, by row and column, the directions of the lines leaving a cell."""

    nodes: dict[str, Node] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    lines: dict[int, dict[int, int]] = field(default_factory=dict)

    def row(self, y: int, first: int, last: int) -> str:
        """The line characters of a row from column `first` up to `last`."""
        cells = self.lines.get(y)
        if not cells:
            return " " * (last - first)
        return "".join(BOX[cells.get(x, 0)] for x in range(first, last))

    def horizontal(self, y: int, first: int, last: int) -> None:
        """Draws a line from one column to another."""
        cells = self.lines.setdefault(y, {})
        for x in range(first, last + 1):
            cells[x] = cells.get(x, 0) | (LEFT if x > first else 0) | (RIGHT if x < last else 0)

    def vertical(self, x: int, first: int, last: int) -> None:
        """Draws a line from one row to another."""
        for y in range(first, last + 1):
            cells = self.lines.setdefault(y, {})
            cells[x] = cells.get(x, 0) | (UP if y > first else 0) | (DOWN if y < last else 0)


def draw(before: Mapping[str, Sequence[str]], node_width: int) -> Graph:
    """Draws jobs and barriers (see estimate.predecessors), with jobs `node_width` cells wide."""
    layers = _items(_useful(before))
    for _ in range(ROUNDS):
        _sort_by(layers, "before")
        _sort_by(reversed(layers), "after")
    _sort_by(layers, "before")
    _stack(layers)
    for _ in range(ROUNDS):
        _pull(layers, "before")
        _pull(reversed(layers), "after")
    lowest = min((item.y for layer in layers for item in layer), default=0)
    for layer in layers:
        for item in layer:
            item.y -= lowest
    return _lines(layers, node_width)


def _useful(before: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Removes barriers without successors, and bypasses those with a single predecessor."""
    kept = {name: [need for need in dict.fromkeys(needs) if need in before] for name, needs in before.items()}
    for name in reversed(in_order(kept)):
        if is_barrier(name) and not any(name in needs for needs in kept.values()):
            del kept[name]
    for name in in_order(kept):
        if is_barrier(name) and len(kept[name]) <= 1:
            instead = kept.pop(name)
            for other, needs in kept.items():
                if name in needs:
                    kept[other] = [*(need for need in needs if need != name), *instead]
    return kept


def _items(before: Mapping[str, Sequence[str]]) -> list[list[Item]]:
    """All items in layers, linked from layer to layer."""
    items: dict[str, Item] = {}
    bends: dict[tuple[str, int], Item] = {}
    layers: list[list[Item]] = []

    def put(item: Item) -> Item:
        while len(layers) <= item.layer:
            layers.append([])
        layers[item.layer].append(item)
        return item

    order = {name: number for number, name in enumerate(before)}
    for name, depth in sorted(_depths(before).items(), key=lambda entry: (entry[1], order[entry[0]])):
        items[name] = put(Item("" if is_barrier(name) else name, depth))
    for name, needs in before.items():
        for need in needs:
            last = items[need]
            for layer in range(items[need].layer + 1, items[name].layer):
                if (need, layer) not in bends:
                    bends[need, layer] = put(Item("", layer))
                    _tie(last, bends[need, layer])
                last = bends[need, layer]
            _tie(last, items[name])
    return layers


def _depths(before: Mapping[str, Sequence[str]]) -> dict[str, int]:
    depths: dict[str, int] = {}
    for name in in_order(before):
        depths[name] = max((depths[need] + 1 for need in before[name] if need in depths), default=0)
    return depths


def _tie(left: Item, right: Item) -> None:
    if left.layer < right.layer:  # false only in a cycle, which a plan does not have
        left.after.append(right)
        right.before.append(left)


def _sort_by(layers: Iterable[list[Item]], side: str) -> None:
    """Orders each layer by the positions of its items' neighbours."""
    for layer in layers:
        slots = {id(item): float(slot) for slot, item in enumerate(layer)}

        def centre(item: Item, slots: dict[int, float] = slots) -> float:
            tied: list[Item] = getattr(item, side)
            return sum(other.y for other in tied) / len(tied) if tied else slots[id(item)]

        layer.sort(key=centre)
        for slot, item in enumerate(layer):
            item.y = slot


def _stack(layers: Iterable[list[Item]]) -> None:
    """Stacks each layer's items vertically."""
    for layer in layers:
        y = 0
        for item in layer:
            item.y = y
            y += item.rows


def _pull(layers: Iterable[list[Item]], side: str) -> None:
    """Moves items as close as possible to their neighbours, preserving order without overlap.

    Isotonic least squares: pool adjacent violators on the positions minus the rows needed before them.
    """
    for layer in layers:
        pools: list[tuple[float, int]] = []  # mean of the desired positions, and the number of items that share it
        offset = 0
        for item in layer:
            tied: list[Item] = getattr(item, side)
            wish = sum(other.y for other in tied) / len(tied) if tied else float(item.y)
            pools.append((wish - offset, 1))
            offset += item.rows
            while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
                (first, count), (second, more) = pools[-2], pools[-1]
                pools[-2:] = [((first * count + second * more) / (count + more), count + more)]
        offset = 0
        places = (mean for mean, count in pools for _ in range(count))
        for item, place in zip(layer, places, strict=True):
            item.y = round(place) + offset
            offset += item.rows


@dataclass(slots=True)
class _Net:
    """Edges that share a track: from all `sources` to all `targets`."""

    sources: list[Item]
    targets: list[Item]

    @property
    def rows(self) -> list[int]:
        return [item.y for item in (*self.sources, *self.targets)]


def _lines(layers: list[list[Item]], node_width: int) -> Graph:
    """Assigns columns to layers, and draws the edges in the gutters between them."""
    graph = Graph()
    x = 0
    for number, layer in enumerate(layers):
        width = node_width if any(item.name for item in layer) else 1
        for item in layer:
            if item.name:
                graph.nodes[item.name] = Node(item.name, number, x, item.y)
            elif item.before and item.after:
                graph.horizontal(item.y, x - 1, x + width)
            graph.height = max(graph.height, item.y + 1)
        graph.width = x + width
        nets = _nets(layer)
        tracks = _tracks(nets)
        gutter = max(tracks, default=-1) + 3
        for net, track in zip(nets, tracks, strict=True):
            column = x + width + 1 + track
            for source in net.sources:
                graph.horizontal(source.y, x + width, column)
                graph.lines[source.y][x + width] |= LEFT
            for target in net.targets:
                graph.horizontal(target.y, column, x + width + gutter - 1)
                graph.lines[target.y][x + width + gutter - 1] |= RIGHT
            graph.vertical(column, min(net.rows), max(net.rows))
        x += width + gutter
    return graph


def _nets(layer: list[Item]) -> list[_Net]:
    nets: dict[frozenset[int], _Net] = {}
    for item in layer:
        if item.after:
            key = frozenset(id(target) for target in item.after)
            nets.setdefault(key, _Net([], item.after)).sources.append(item)
    return list(nets.values())


def _tracks(nets: list[_Net]) -> list[int]:
    """A column for each net's vertical line.

    Where one net begins in a row in which another ends, its column must be further left, or the two would look
    connected. Nets in different rows may share a column.
    """
    starting: dict[int, int] = {source.y: number for number, net in enumerate(nets) for source in net.sources}
    left_of: dict[str, list[str]] = {
        str(number): [str(starting[target.y]) for target in net.targets if starting.get(target.y, number) != number]
        for number, net in enumerate(nets)
    }
    taken: list[list[tuple[int, int]]] = []
    tracks = [0] * len(nets)
    done: set[str] = set()
    for name in in_order(left_of):
        number = int(name)
        first, last = min(nets[number].rows), max(nets[number].rows)
        track = max((tracks[int(other)] + 1 for other in left_of[name] if other in done), default=0)
        while track < len(taken) and any(first <= end and begin <= last for begin, end in taken[track]):
            track += 1
        while len(taken) <= track:
            taken.append([])
        taken[track].append((first, last))
        tracks[number] = track
        done.add(name)
    return tracks
