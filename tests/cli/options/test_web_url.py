"""The address of the pages, which others get as a link."""

from __future__ import annotations

import pytest

from cli.options.serving import CoordinatorOptions
from protocol.errors import UsageError


def test_the_address_of_the_pages_is_one_of_http() -> None:
    assert CoordinatorOptions().pages == ""
    assert CoordinatorOptions(web_url="https://ci.example.org/x").pages == "https://ci.example.org/x"
    for bad in ("ci.example.org", "ftp://ci.example.org", "https://"):
        with pytest.raises(UsageError, match=r"--web-url: .* is no address of pages; use https://HOST"):
            _ = CoordinatorOptions(web_url=bad).pages
