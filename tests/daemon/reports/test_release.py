"""A release as its job leaves it: values filled in, the description's file read, wrong values refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemon.executors.base import DESCRIPTION, Collected
from daemon.reports.release import MAX_DESCRIPTION, BadRelease, read_release, with_texts
from protocol.plan import Release, ReleaseLink
from protocol.variables import VariableTooLong

VALUES = {"CI_COMMIT_SHA": "abc", "VERSION": "1.0"}


def expand(text: str) -> str:
    for name, value in VALUES.items():
        text = text.replace(f"${name}", value)
    return text


def spec(**fields: Any) -> Release:
    return Release(**({"tag_name": "v$VERSION", "description": "Some text"} | fields))


def described(folder: Path, content: bytes) -> list[Collected]:
    (folder / "file").write_bytes(content)
    return [Collected(DESCRIPTION, folder / "file", "NOTES.md")]


def test_values_are_filled_in_and_name_and_commit_have_defaults() -> None:
    links = [ReleaseLink(name="a $VERSION", url="https://example.com/$VERSION")]
    report = read_release(spec(links=links, milestones=["$VERSION", ""]), expand, [])
    assert report.warning is None
    assert report.release == Release(
        tag_name="v1.0",
        name="v1.0",
        description="Some text",
        ref="abc",
        milestones=["1.0"],
        links=[ReleaseLink(name="a 1.0", url="https://example.com/1.0")],
    )


def test_a_description_s_file_is_read_as_it_is(tmp_path: Path) -> None:
    report = read_release(spec(description="NOTES.md"), expand, described(tmp_path, b"# $VERSION\n\xff"))
    assert report.release.description == "# $VERSION\n\N{REPLACEMENT CHARACTER}"


def test_a_long_description_is_cut_and_says_so(tmp_path: Path) -> None:
    report = read_release(spec(), expand, described(tmp_path, "\N{SNOWMAN}".encode() * MAX_DESCRIPTION))
    assert len(report.release.description.encode()) <= MAX_DESCRIPTION
    assert "only the first 256 KiB" in (report.warning or "")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tag_name": ""}, "tag_name is empty"),
        ({"tag_name": "v 1"}, "tag_name: 'v 1' is not a name of a tag"),
        ({"tag_name": "v1..2"}, "is not a name of a tag"),
        ({"tag_name": "v1.lock"}, "is not a name of a tag"),
        ({"description": " "}, "description is empty"),
        ({"released_at": "31.01.2026"}, "released_at: '31.01.2026' is not a time"),
        ({"links": [ReleaseLink(name="", url="https://a")]}, "needs a name and a URL"),
        ({"links": [ReleaseLink(name="a", url="/a")]}, "needs a name and a URL"),
        ({"links": [ReleaseLink(name=n, url="https://a") for n in "ab"]}, "another link has the same url"),
        ({"tag_message": "x" * (600 << 10)}, "it is larger than 384 KiB"),
    ],
    ids=range(10),
)
def test_values_that_gitlab_refuses_fail_the_job(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRelease, match=message):
        read_release(spec(**fields), expand, [])


def test_every_text_of_a_release_can_be_masked() -> None:
    links = [ReleaseLink(name="s", url="s", filepath="s", link_type="s")]
    release = Release(
        tag_name="s",
        description="s",
        name="s",
        tag_message="s",
        ref="s",
        milestones=["s"],
        released_at="s",
        links=links,
    )
    assert "s'" not in str(with_texts(release, lambda text: "***")).replace("***'", "")


def test_a_value_that_grows_without_end_fails_the_job() -> None:
    def grow(text: str) -> str:
        raise VariableTooLong("the value is longer than 1 MB")

    with pytest.raises(BadRelease, match="longer than 1 MB"):
        read_release(spec(), grow, [])
