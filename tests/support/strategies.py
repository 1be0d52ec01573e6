"""Made-up messages for hypothesis: every field of a type, with values that its annotation allows."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgpack
import msgspec
from hypothesis import strategies as st

from protocol import codec

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-codec.LARGEST_INTEGER, codec.LARGEST_INTEGER)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def values(kind: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of an annotation as the protocol's types use them."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return structs(kind, depth + 1)
    if isinstance(kind, type) and issubclass(kind, tuple):  # a NamedTuple
        return st.builds(kind, *[values(each, depth) for each in get_type_hints(kind).values()])
    simple = {str: TEXT, int: NUMBERS, float: FLOATS, bool: st.booleans(), type(None): st.none()}
    if kind in simple:
        return simple[kind]
    if kind is bytes:
        return st.binary(max_size=20)
    if kind is Any:
        scalars = st.one_of(*simple.values())
        return scalars | st.lists(scalars, max_size=2)
    if kind is msgspec.Raw:
        return NUMBERS.map(lambda number: msgspec.Raw(msgpack.packb(number)))
    if get_origin(kind) is Annotated:
        return _bounded(kind, depth)
    arguments = get_args(kind)
    origin = getattr(kind, "__origin__", None)
    if origin is list:
        return st.lists(values(arguments[0], depth), max_size=0 if depth > 4 else 2)
    if origin is dict:
        return st.dictionaries(values(arguments[0], depth), values(arguments[1], depth), max_size=2)
    if arguments and all(isinstance(each, str) for each in arguments):
        return st.sampled_from(arguments)
    if arguments:
        return st.one_of([values(each, depth) for each in arguments])
    return st.sampled_from(list(kind))


def _bounded(kind: Any, depth: int) -> st.SearchStrategy[Any]:
    """Values of an annotation with bounds: a pattern, a least number, or a number of elements."""
    bounds = kind.__metadata__[0]
    if bounds.pattern is not None:
        return st.from_regex(bounds.pattern)
    if bounds.ge is not None:
        return st.integers(bounds.ge, codec.LARGEST_INTEGER)
    (element,) = get_args(kind.__origin__)
    return st.lists(values(element, depth), min_size=bounds.min_length or 0, max_size=2)


@cache  # checking a new strategy takes longer than drawing from it
def structs(kind: type[msgspec.Struct], depth: int = 0) -> st.SearchStrategy[Any]:
    """Whole messages, every field of them made up."""
    return st.deferred(lambda: st.builds(kind, **{f.name: values(f.type, depth) for f in msgspec.structs.fields(kind)}))
