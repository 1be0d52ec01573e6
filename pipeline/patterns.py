"""Regular expressions and globs, both run by RE2, which guarantees linear time. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from protocol.regular_expressions import BadPattern, compile_regex

_WRITTEN = re.compile(r"/(.*)/([ismU]*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled regular expression. `text` is its source."""

    text: str
    program: Any

    def found_in(self, subject: str) -> bool:
        """Whether it matches anywhere in `subject`."""
        return self.program.search(subject) is not None

    def matches(self, subject: str) -> bool:
        """Whether it matches all of `subject`."""
        return self.program.fullmatch(subject) is not None


@lru_cache(maxsize=4096)
def compile_pattern(text: str) -> Pattern:
    """Compiles a pattern `/regex/flags`, with GitLab's flags i, s, m and U. Raises BadPattern."""
    match = _WRITTEN.match(text)
    if match is None:
        raise BadPattern(f"{text[:60]!r} is not a pattern of the form /regex/")
    return Pattern(text, compile_regex(match[1], match[2]))


def written_pattern(text: str) -> Pattern:
    """Compiles a pattern as written in an expression, where `\\/` is a slash. Raises BadPattern."""
    compiled = compile_pattern(text.replace("\\/", "/"))
    return Pattern(text, compiled.program)


@lru_cache(maxsize=1024)
def bare_pattern(regex: str) -> Pattern:
    """Compiles a regular expression without slashes. Raises BadPattern."""
    return Pattern(regex, compile_regex(regex))


@lru_cache(maxsize=4096)
def glob_pattern(glob: str) -> Pattern:
    """Compiles a path glob with the semantics of Ruby's fnmatch (FNM_PATHNAME, FNM_DOTMATCH, FNM_EXTGLOB): `*`, `?` and
    `[...]` stay within a directory, `**/` matches any number of directories, `{a,b}` either. Raises BadPattern.
    """
    return Pattern(glob, compile_regex(_glob_regex(glob), "s"))


def include_pattern(glob: str) -> Pattern:
    """Compiles a glob of `include:local`: `**` matches anything, `*` anything but a slash. Raises BadPattern."""
    regex = re.escape(glob).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return Pattern(glob, compile_regex(regex, "s"))


def is_glob(text: str) -> bool:
    """Whether a path contains glob metacharacters."""
    return any(character in text for character in "*?[{")


def _glob_regex(glob: str) -> str:
    pieces: list[str] = []
    position = braces = 0
    while position < len(glob):
        character = glob[position]
        if glob.startswith("**/", position) and (position == 0 or glob[position - 1] in "/{,"):
            pieces.append("(?:[^/]+/)*")
            position += 3
            continue
        if character == "*":
            while glob.startswith("*", position):
                position += 1
            pieces.append("[^/]*")
            continue
        if character == "[" and (end := glob.find("]", position + 2)) > 0:
            inside = glob[position + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            pieces.append("[^/" + inside[1:] + "]" if inside[0] in "!^" else f"[{inside}]")
            position = end + 1
            continue
        if character == "{" and "}" in glob[position:]:
            braces += 1
            pieces.append("(?:")
        elif character == "}" and braces:
            braces -= 1
            pieces.append(")")
        elif character == "," and braces:
            pieces.append("|")
        elif character == "?":
            pieces.append("[^/]")
        elif character == "\\" and position + 1 < len(glob):
            position += 1
            pieces.append(re.escape(glob[position]))
        else:
            pieces.append(re.escape(character))
        position += 1
    return "".join(pieces) + ")" * braces
