"""The items of an `include`, whether a file's or a trigger's: each a mapping that names one file in one way. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from pipeline.nodes import Map, Mark, Seq, Value
from pipeline.problems import fatal

_YAML = re.compile(r"\.ya?ml\Z", re.IGNORECASE)


def is_yaml(name: str) -> bool:
    """Whether a name is one that an included file may have."""
    return _YAML.search(name) is not None


def entries_of(include: Value, mark: Mark, expanded: Callable[[str], str]) -> Iterator[tuple[Map, Mark]]:
    """The items of an `include`; text is short for `local`, or for `remote` if it is a URL once it is `expanded`."""
    for item, where in include.entries() if isinstance(include, Seq) else [(include, mark)]:
        if isinstance(item, Map):
            yield item, where
        elif item is not None:
            kind = "remote" if expanded(str(item)).startswith(("http://", "https://")) else "local"
            yield Map(where, [(kind, item, where)]), where


def only_kind(entry: Map, kinds: Sequence[str], offered: Sequence[str], mark: Mark, key: str) -> str:
    """The keyword by which an item names its file. Raises PipelineFileError, offering some, if it has none or two."""
    found = [kind for kind in kinds if entry.get(kind) is not None]
    if len(found) != 1:
        said = f"names {' and '.join(found)} at once" if found else "names no file"
        raise fatal(said, mark, key, f"give one of {', '.join(offered)}")
    return found[0]
