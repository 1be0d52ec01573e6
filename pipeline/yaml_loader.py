"""Reads YAML as GitLab does (libyaml's grammar, YAML 1.1's plain scalars), with the place of every key. No files.

Processes libyaml's events with its own stack, so that depth, size and alias expansion are bounded before anything is
built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from pipeline.nodes import Map, Mark, Origin, Reference, Scalar, Seq, Value, kind_of, shown
from pipeline.problems import Report, fatal
from protocol.errors import PipelineFileError

MAX_FILE_BYTES = 10 << 20
MAX_DEPTH = 64
"""Maximum nesting of containers, counting the contents of aliases."""
MAX_VALUES = 500_000
"""Maximum number of values in a document, counting the contents of aliases: the bound on alias bombs."""
MAX_DOCUMENTS = 2
"""A header with `spec:`, and the pipeline."""

_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_TRUE = re.compile(r"(?:yes|true|on)\Z", re.IGNORECASE)
_FALSE = re.compile(r"(?:no|false|off)\Z", re.IGNORECASE)
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9_]*[0-9][0-9_]*)(?:[eE][-+][0-9]+)?\Z")
_LONGEST_NUMBER = 40
_TAG = "tag:yaml.org,2002:"


def load(data: bytes, origin: Origin, report: Report, *, as_written: bool = False) -> list[Value]:
    """The non-empty documents of a file. Raises PipelineFileError with file and line if it is too large or not YAML.

    With `as_written` every scalar is kept as text: `1.10` is no number.
    """
    composed = _Composer(origin, report, as_written=as_written).compose(_events(_text(data, origin), origin))
    documents: list[Value] = [document for document in composed if document is not None]
    if len(documents) > MAX_DOCUMENTS:
        raise fatal(
            f"the file has {len(documents)} YAML documents; at most a header and a pipeline are allowed",
            Mark(origin, 1),
            mend="remove the `---` lines that begin the others",
        )
    return documents


def _text(data: bytes, origin: Origin) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise fatal(f"the file is larger than {MAX_FILE_BYTES >> 20} MB", Mark(origin, 0), mend="split it by `include`")
    nul = data.find(b"\0")
    if nul >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise fatal("the file is binary (it contains a NUL byte), not YAML", Mark(origin, line))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise fatal(
            f"byte 0x{data[error.start]:02x} is not UTF-8", Mark(origin, line), mend="save it as UTF-8"
        ) from None


def _events(text: str, origin: Origin) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=yaml.CLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        context = error.context
        if context and mark and error.context_mark and error.context_mark.line != mark.line:
            context += f" that begins in line {error.context_mark.line + 1}"
        message = ", ".join(part for part in (error.problem, context) if part)
        place = Mark(origin, *([mark.line + 1, mark.column + 1] * 2 if mark else [0]))
        raise fatal(f"invalid YAML: {message}", place, mend=_mend(error, text)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise fatal(f"invalid YAML: {error.reason}", Mark(origin, line)) from None
    except yaml.YAMLError as error:
        raise fatal(f"invalid YAML: {error}", Mark(origin, 0)) from None


def _mend(error: yaml.MarkedYAMLError, text: str) -> str:
    """Hint for the most common mistakes that YAML misreads; "" for all others."""
    problem, context = error.problem or "", error.context or ""
    if problem.startswith("mapping values are not allowed"):
        return "quote a value that contains `: `"
    scanned = context in ("while scanning an alias", "while scanning an anchor", "while scanning a tag")
    mark = error.context_mark if scanned else error.problem_mark
    if mark is None or not (scanned or problem.startswith("found character that cannot start any token")):
        return ""
    line = "".join(text.splitlines()[mark.line : mark.line + 1])
    first = line[mark.column : mark.column + 1]
    return "indent with spaces, not with tabs" if first == "\t" else f"quote a value that begins with {first}"


@dataclass(frozen=True, slots=True)
class _Anchored:
    """The value of an anchor; `value` is unset while the anchored container is still being read."""

    value: Value
    weight: int
    depth: int
    complete: bool = True


@dataclass(slots=True)
class _Frame:
    """A container being read. `key` is the key of the next value; `written` has the lines of keys not added by `<<`."""

    mark: Mark
    flow: bool
    tag: str | None
    anchor: str | None
    items: list[tuple[Value, Mark]] = field(default_factory=list)
    entries: dict[str, tuple[Value, Mark]] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    mapping: bool = False
    key: tuple[str, Mark, bool] | None = None
    weight: int = 1
    depth: int = 1


_Start: TypeAlias = yaml.SequenceStartEvent | yaml.MappingStartEvent


class _Composer:
    """Builds the values of one file from its events."""

    def __init__(self, origin: Origin, report: Report, *, as_written: bool) -> None:
        self._origin = origin
        self._report = report
        self._as_written = as_written
        self._stack: list[_Frame] = []
        self._anchors: dict[str, _Anchored] = {}
        self._documents: list[Value] = []
        self._end_of_last = (1, 1)
        """The line and column after the last scalar, alias or flow container."""

    def compose(self, events: Iterator[yaml.Event]) -> list[Value]:
        for event in events:
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, _Start):
                self._start(event)
            elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                self._end(event)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
        return self._documents

    def _mark(self, event: yaml.Event) -> Mark:
        start, end = event.start_mark, event.end_mark
        if start is None or end is None:
            raise AssertionError("an event without a place: libyaml gives each one")
        return Mark(self._origin, start.line + 1, start.column + 1, end.line + 1, end.column + 1)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        mark = self._mark(event)
        self._end_of_last = mark[3:]
        if "\0" in event.value:
            raise fatal("a string contains a NUL character", mark)
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.mapping and frame.key is None:
            frame.key = (event.value, mark, event.value == "<<" and event.implicit[0])
            return
        value = event.value if self._as_written else _scalar_value(event, mark)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, 1, 0)
        self._place(value, mark, weight=1, depth=0)

    def _start(self, event: _Start) -> None:
        mark = self._mark(event)
        mapping = isinstance(event, yaml.MappingStartEvent)
        if self._stack and self._stack[-1].mapping and self._stack[-1].key is None:
            raise fatal("a key must be a string", mark, mend="quote the key")
        if len(self._stack) >= MAX_DEPTH:
            raise fatal(f"nested more than {MAX_DEPTH} deep", mark)
        known = (_TAG + ("map" if mapping else "seq"), "!reference" if not mapping else None, "!", None)
        if event.tag not in known:
            raise _unknown_tag(event.tag, mark)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(None, 0, 0, complete=False)
        self._stack.append(_Frame(mark, bool(event.flow_style), event.tag, event.anchor, mapping=mapping))

    def _end(self, event: yaml.SequenceEndEvent | yaml.MappingEndEvent) -> None:
        frame = self._stack.pop()
        if frame.flow:
            self._end_of_last = self._mark(event)[3:]
        # A block ends with its last part: libyaml ends it where the next one begins, perhaps lines below.
        end_line, end_column = self._end_of_last
        frame.mark = frame.mark._replace(end_line=end_line, end_column=end_column)
        value: Value
        if frame.mapping:
            value = Map(frame.mark, ((key, inner, mark) for key, (inner, mark) in frame.entries.items()))
        elif frame.tag == "!reference":
            value = _reference(frame)
        else:
            value = Seq(frame.mark, frame.items)
        if frame.anchor:
            self._anchors[frame.anchor] = _Anchored(value, frame.weight, frame.depth)
        self._place(value, frame.mark, frame.weight, frame.depth)

    def _alias(self, event: yaml.AliasEvent) -> None:
        mark = self._mark(event)
        self._end_of_last = mark[3:]
        anchored = self._anchors.get(event.anchor or "")
        if anchored is None:
            raise fatal(f"alias *{event.anchor} has no anchor &{event.anchor} before it", mark)
        if not anchored.complete:
            raise fatal(f"alias *{event.anchor} refers to a value that contains it", mark)
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.mapping and frame.key is None:
            if not isinstance(anchored.value, str):
                raise fatal("a key must be a string", mark)
            frame.key = (anchored.value, mark, False)
            return
        self._place(anchored.value, mark, anchored.weight, anchored.depth)

    def _place(self, value: Value, mark: Mark, weight: int, depth: int) -> None:
        if not self._stack:
            self._documents.append(value)
            return
        frame = self._stack[-1]
        frame.weight += weight
        frame.depth = max(frame.depth, depth + 1)
        if frame.weight > MAX_VALUES:
            raise fatal(f"more than {MAX_VALUES} values, with its aliases expanded", mark)
        if frame.depth > MAX_DEPTH:
            raise fatal(f"nested more than {MAX_DEPTH} deep, with its aliases expanded", mark)
        if not frame.mapping:
            frame.items.append((value, mark))
            return
        if frame.key is None:
            raise AssertionError("a value without a key: libyaml sends keys first")
        key, key_mark, merge = frame.key
        frame.key = None
        if merge:
            _merge(frame, value, key_mark)
            return
        before = frame.written.setdefault(key, key_mark.line)
        if before != key_mark.line:
            self._report.warning(f"is a duplicate of the key in line {before}; the last one counts", key_mark, key)
        frame.entries[key] = (value, key_mark)


def _merge(frame: _Frame, value: Value, mark: Mark) -> None:
    """Merges the mapping under `<<`, at its place: it overrides keys above it, and keys below override it. In a list
    the first one wins. GitLab's YAML library does the same.
    """
    for source in reversed(value) if isinstance(value, Seq) else [value]:
        if not isinstance(source, Map):
            raise fatal(f"<< takes a mapping or a list of mappings, not {kind_of(source)}", mark, "<<")
        frame.entries.update({key: (inner, where) for key, inner, where in source.entries()})


def _reference(frame: _Frame) -> Reference:
    path: list[str] = []
    for value, mark in frame.items:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise fatal(f"!reference takes names, not {kind_of(value)}", mark)
        path.append(str(value))
    if not path:
        raise fatal("!reference names nothing", frame.mark, mend="write !reference [job, key]")
    return Reference(tuple(path), frame.mark)


def _unknown_tag(tag: str, mark: Mark) -> PipelineFileError:
    return fatal(f"unknown YAML tag {shown(tag)}", mark, mend="the only custom tag is !reference [job, key]")


def _scalar_value(event: yaml.ScalarEvent, mark: Mark) -> Scalar:
    text: str = event.value
    if event.tag is None or event.tag == "!":
        return plain_value(text) if event.implicit[0] and event.tag is None else text
    if event.tag == f"{_TAG}str":
        return text
    if event.tag in {f"{_TAG}{name}" for name in ("int", "float", "bool", "null")}:
        return plain_value(text)
    raise _unknown_tag(event.tag, mark)


def plain_value(text: str) -> Scalar:
    """The YAML 1.1 meaning of an unquoted scalar, as GitLab reads it; absurdly long numbers stay text."""
    if len(text) > _LONGEST_NUMBER:
        return text
    if _NULL.match(text):
        return None
    if _TRUE.match(text):
        return True
    if _FALSE.match(text):
        return False
    if _INTEGER.match(text):
        return _integer(text.replace("_", ""))
    if _FLOAT.match(text):
        return float(text.replace("_", ""))
    return text


def _integer(digits: str) -> int | str:
    bare = digits.lstrip("+-")
    try:
        if bare.startswith(("0b", "0x")):
            return int(digits, 0)
        return int(digits, 8) if len(bare) > 1 and bare.startswith("0") else int(digits)
    except ValueError:
        return digits
