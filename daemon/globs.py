"""Matches paths as GitLab Runner's file patterns do (doublestar). Pure.

`*` and `?` stay within one path component, `**` as a whole component is any number of them, `[a-z]` and `[!a-z]` are
sets, `{a,b}` is either; a dot at the start of a name is nothing special.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from typing import Any

from protocol.errors import UsageError

META = re.compile(r"[*?\[{\\]")


def relative_pattern(pattern: str, project_dir: str) -> str | None:
    """`pattern` relative to the project directory, "" for the directory itself; None if it leads out of it."""
    path = posixpath.normpath(posixpath.join(project_dir, pattern))
    if path == project_dir:
        return ""
    return path.removeprefix(project_dir + "/") if path.startswith(project_dir + "/") else None


def fixed_prefix(pattern: str) -> str:
    """The leading components of `pattern` that hold nothing special: where all its matches are. "" is everywhere."""
    fixed: list[str] = []
    for component in pattern.split("/"):
        if META.search(component):
            break
        fixed.append(component)
    return "/".join(fixed)


def outermost(prefixes: Sequence[str]) -> list[str]:
    """Those of `prefixes` that lie in no other one, each once, in order."""
    chosen: list[str] = []
    for prefix in sorted(set(prefixes)):
        if not any(not other or prefix.startswith(other + "/") for other in chosen):
            chosen.append(prefix)
    return chosen


class Patterns:
    """Several patterns, relative to one directory. Raises UsageError for one that is malformed."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._exact = [_compiled(pattern, "") for pattern in patterns]
        self._within = [_compiled(pattern, "(?:/.*)?") for pattern in patterns]

    def match(self, path: str) -> bool:
        """Whether a pattern matches the whole of `path`."""
        path = _text(path)
        return any(pattern.fullmatch(path) for pattern in self._exact)

    def covering(self, path: str) -> list[int]:
        """Indexes of the patterns that match `path` or a directory above it."""
        path = _text(path)
        return [index for index, pattern in enumerate(self._within) if pattern.fullmatch(path)]


def _text(path: str) -> str:
    """`path` without what is no UTF-8, which re2 does not take."""
    return path if path.isascii() else path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _compiled(pattern: str, suffix: str) -> Any:
    """With re2, whose time is bounded whatever the pattern."""
    import re2  # takes 2 ms, for which a job that leaves no files does not wait

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(f"(?s:{_regex(pattern)}{suffix})", options)
    except (re2.error, UnicodeEncodeError) as error:
        raise UsageError(f"bad file pattern {pattern!r}: {error}") from error


def _regex(pattern: str) -> str:
    if not pattern:
        return ".*"
    out: list[str] = []
    depth = index = 0
    while index < len(pattern):
        char = pattern[index]
        component_starts = index == 0 or pattern[index - 1] == "/"
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
                raise UsageError(f"bad file pattern {pattern!r}: a '[' without its ']'")
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
        raise UsageError(f"bad file pattern {pattern!r}: a '{{' without its '}}'")
    return "".join(out)
