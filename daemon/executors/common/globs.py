"""Matches paths as GitLab Runner's file patterns do (doublestar). Pure.

`*` and `?` stay within one path component, `**` as a whole component matches any number of them, `[a-z]` and `[!a-z]`
are sets, `{a,b}` is an alternative; a leading dot in a name is not special.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any

from protocol.errors import UsageError

MOST_ALTERNATIVES = 30
"""Limit of a pattern's brace alternatives that are considered for symbolic links."""
_COMPONENT = re.compile(r"(?:[^/\[\\]|\\.|\[.[^\]]*\]|\[)+", re.DOTALL)
META = re.compile(r"[*?\[{\\]")


def relative_pattern(pattern: str, project_dir: str) -> str | None:
    """`pattern` relative to the project directory, "" for the directory itself; None if it is outside."""
    path = posixpath.normpath(posixpath.join(project_dir, pattern))
    if path == project_dir:
        return ""
    return path.removeprefix(project_dir + "/") if path.startswith(project_dir + "/") else None


def fixed_prefix(pattern: str) -> str:
    """The leading components of `pattern` without wildcards: the directory of all its matches. "" is the root."""
    fixed: list[str] = []
    for component in pattern.split("/"):
        if META.search(component):
            break
        fixed.append(component)
    return "/".join(fixed)


def outermost(prefixes: Sequence[str]) -> list[str]:
    """Those of `prefixes` that are not below another one, each once, in order."""
    chosen: list[str] = []
    for prefix in sorted(set(prefixes)):
        if not any(not other or prefix.startswith(other + "/") for other in chosen):
            chosen.append(prefix)
    return chosen


class Patterns:
    """Several patterns, relative to one directory. Raises UsageError for a malformed one."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns
        self._exact = [_compiled(pattern, "") for pattern in patterns]
        self._within = [_compiled(pattern, "(?:/.*)?") for pattern in patterns]
        self._above: list[Any] | None = None

    def match(self, path: str) -> bool:
        """Whether a pattern matches the whole of `path`."""
        path = _text(path)
        return any(pattern.fullmatch(path) for pattern in self._exact)

    def covering(self, path: str) -> list[int]:
        """Indexes of the patterns that match `path` or a directory above it."""
        path = _text(path)
        return [index for index, pattern in enumerate(self._within) if pattern.fullmatch(path)]

    def beyond(self, path: str) -> set[int]:
        """Indexes of the patterns whose first components, none of them `**`, match `path`, and that go deeper."""
        if self._above is None:  # needed only for symbolic links
            self._above = [_compiled_regex(pattern, _regex_above(pattern)) for pattern in self._patterns]
        path = _text(path)
        return {index for index, above in enumerate(self._above) if above and above.fullmatch(path)}


def _regex_above(pattern: str) -> str:
    """A regex for the directories on the way to a match of `pattern`, up to the first `**`; "" for none."""
    leading: dict[str, None] = {}
    for alternative in itertools.islice(_alternatives(pattern), MOST_ALTERNATIVES):
        components = _COMPONENT.findall(alternative)[:-1]
        fixed = list(itertools.takewhile(lambda component: set(component) != {"*"} or component == "*", components))
        leading |= {_regex("/".join(fixed[: end + 1])): None for end in range(len(fixed))}
    return "|".join(leading)


def _alternatives(pattern: str) -> Iterator[str]:
    """`pattern` without braces: one for each combination of alternatives."""
    depth = start = 0
    cuts: list[int] = []
    index = 0
    while index < len(pattern):
        char = pattern[index]
        if char == "\\":
            index += 1
        elif char == "[":
            index = max(index, pattern.find("]", index + 2))
        elif char == "{":
            depth += 1
            if depth == 1:
                start, cuts = index, [index]
        elif char == "," and depth == 1:
            cuts.append(index)
        elif char == "}" and depth:
            depth -= 1
            if depth == 0:
                cuts.append(index)
                for left, right in itertools.pairwise(cuts):
                    yield from _alternatives(pattern[:start] + pattern[left + 1 : right] + pattern[index + 1 :])
                return
        index += 1
    yield pattern


def _text(path: str) -> str:
    """`path` with invalid UTF-8, which re2 rejects, replaced."""
    return path if path.isascii() else path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _compiled(pattern: str, suffix: str) -> Any:
    return _compiled_regex(pattern, _regex(pattern) + suffix)


def _compiled_regex(pattern: str, regex: str) -> Any:
    """Compiled with re2, whose time is bounded for any pattern; None for "". Raises UsageError."""
    if not regex:
        return None
    import re2  # takes 2 ms; a job without files need not pay them

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(f"(?s:{regex})", options)
    except (re2.error, UnicodeEncodeError) as error:
        raise UsageError(f"bad file pattern {pattern!r}: {error}") from error


def _regex(pattern: str) -> str:
    if not pattern:
        return ".*"
    out: list[str] = []
    depth = index = 0
    while index < len(pattern):
        char = pattern[index]
        component_starts = index == 0 or pattern[index - 1] in ("/{," if depth else "/")
        index += 1
        if char == "*":
            start = index
            while pattern[index : index + 1] == "*":
                index += 1
            if index == start or not component_starts or pattern[index : index + 1] not in ("", "/"):
                out.append("[^/]*")
            elif index < len(pattern):
                out.append("(?:[^/]+/)*")
                index += 1
            elif out:
                out[-1] = "(?:/.*)?"
            else:
                out.append(".*")
        elif char == "?":
            out.append("[^/]")
        elif char == "\\" and index < len(pattern):
            out.append(re.escape(pattern[index]))
            index += 1
        elif char == "[":
            negated = pattern[index : index + 1] in ("!", "^")
            index += negated
            end = pattern.find("]", index + 1)
            if end < 0:
                raise UsageError(f"bad file pattern {pattern!r}: a '[' without a ']'")
            body = pattern[index:end].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            out.append(f"[^/{body}]" if negated else f"[{body}]")
            index = end + 1
        elif char == "{":
            depth += 1
            out.append("(?:")
        elif char == "}" and depth:
            depth -= 1
            out.append(")")
        elif char == "," and depth:
            out.append("|")
        else:
            out.append(re.escape(char))
    if depth:
        raise UsageError(f"bad file pattern {pattern!r}: a '{{' without a '}}'")
    return "".join(out)
