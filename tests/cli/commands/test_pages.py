"""Links among the pages of a job: only those that stay inside are made."""

from __future__ import annotations

import pytest

from cli.artifacts.unpacking import Entry
from cli.commands.pages import PREFIX, leads_out


@pytest.mark.parametrize(
    ("path", "target", "outside"),
    [
        ("a", "b", False),
        ("sub/a", "../b", False),
        ("sub/a", "..", False),
        ("a", "sub/../b", False),
        ("a", "/b", True),
        ("a", "..", True),
        ("a", "../b", True),
        ("sub/a", "../../b", True),
        ("a", "sub/../../b", True),
    ],
)
def test_a_link_leads_out_if_its_target_is_not_below_the_directory(path: str, target: str, outside: bool) -> None:
    assert leads_out(Entry(path, "link", 0, 0o777, target)) is outside


@pytest.mark.parametrize(
    ("prefix", "sound"), [("mr-1", True), ("v1.2", True), ("..", False), ("a/b", False), (".", False)]
)
def test_a_prefix_is_the_name_of_one_directory(prefix: str, sound: bool) -> None:
    assert bool(PREFIX.fullmatch(prefix)) is sound
