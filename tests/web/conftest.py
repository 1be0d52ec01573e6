"""A coordinator and a web server as processes, which the tests of this package share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.site import Site


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that tests share; none may stop it. Each adds projects of its own."""
    with Site(tmp_path_factory.mktemp("site")) as site:
        yield site
