"""Lock files as text: what is written can be read, and anything else is refused with line and mend."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.includes.lock_file import MEND, lock_path, lock_text, parse_lock, read_lock, write_lock
from pipeline.includes.records import Pin
from protocol.errors import PipelineFileError

COMMIT, SHA256 = "0123456789" * 4, "0123456789abcdef" * 4
PINS = {
    "group/ci@main": Pin(commit=COMMIT),
    "example.com:8443/group/sub/part@~latest": Pin(commit=COMMIT, version="1.10"),
    "https://example.com/ci/a.yml?sha256=0123": Pin(sha256=SHA256),
}


def test_a_lock_file_is_beside_its_pipeline_file_and_reads_as_it_was_written(tmp_path: Path) -> None:
    path = lock_path(tmp_path / ".gitlab-ci.yml")
    assert path == tmp_path / ".gitlab-ci.lock.yml"
    assert lock_path(Path("ci/other.yml")) == Path("ci/other.lock.yml")
    assert read_lock(path) is None
    write_lock(path, PINS)
    assert read_lock(path) == PINS
    write_lock(path, {})
    assert read_lock(path) == {}
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_file_is_for_people_to_review() -> None:
    assert lock_text(PINS) == textwrap.dedent(
        f"""\
        # Written by `longshore lock`; commit it. `longshore lock --update` renews it.
        version: 1
        projects:
          example.com:8443/group/sub/part@~latest:
            commit: {COMMIT}
            version: 1.10
          group/ci@main:
            commit: {COMMIT}
        remotes:
          https://example.com/ci/a.yml?sha256=0123:
            sha256: {SHA256}
        """
    )


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(st.dictionaries(TEXT.filter(lambda key: key != "" and not key.startswith("http")), TEXT))
def test_any_name_and_version_survive(written: dict[str, str]) -> None:
    text = lock_text({key: Pin(commit=COMMIT, version=version) for key, version in written.items()})
    assert {key: pin.version for key, pin in parse_lock(text.encode(), "lock").items()} == written


GOOD = lock_text(PINS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "x.lock.yml:1: is no lock file"),
        ("- a\n", "x.lock.yml:1: is no lock file"),
        ("version: 2\n", "x.lock.yml:1: version: is version '2' of a lock file; this Longshore reads version 1"),
        ("projects: {}\n", "x.lock.yml:1: has no `version`"),
        (GOOD.replace("projects:", "<<<<<<< HEAD\nprojects:"), "x.lock.yml:4: invalid YAML"),
        (GOOD.replace(f"  {'group/ci@main'}:\n    commit: {COMMIT}\n", "  group/ci@main:\n"), "must be a mapping"),
        (GOOD.replace(COMMIT, COMMIT[:-1], 1), "x.lock.yml:5: projects.example.com:8443/group/sub/part@~latest.commit"),
        (GOOD.replace(SHA256, "x"), "is not a SHA-256 in hex"),
        (GOOD.replace("sha256:", "sha1:"), "sha1: is unknown in a lock file"),
        (GOOD + "more: x\n", "more: is unknown in a lock file"),
        (GOOD.replace("projects:", "remotes:", 1), "remotes: is "),
        ("version: 1\nprojects: [a]\n", "x.lock.yml:2: projects: must be a mapping, not a list"),
        ("version: 1\nremotes:\n  group/ci@main: {sha256: x}\n", "is in the wrong section"),
        ("\x00", "x.lock.yml"),
    ],
)
def test_a_damaged_lock_file_is_refused_with_line_and_mend(text: str, said: str) -> None:
    with pytest.raises(PipelineFileError) as raised:
        parse_lock(text.encode(), "x.lock.yml")
    assert said in str(raised.value)
    assert str(raised.value).endswith("; restore it, or write it anew: longshore lock --update")


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.text(max_size=20))
def test_a_lock_file_cut_and_mended_by_hand_is_read_or_refused(start: int, end: int, other: str) -> None:
    text = GOOD[:start] + other + GOOD[end:]
    try:
        said, pins = "", parse_lock(text.encode("utf-8", "surrogatepass"), "x.lock.yml")
    except PipelineFileError as error:
        said, pins = str(error), {}
    assert MEND in said or parse_lock(lock_text(pins).encode(), "x.lock.yml") == pins


def test_a_lock_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineFileError, match=r"is a directory; restore it"):
        read_lock(tmp_path)
