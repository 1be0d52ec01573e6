"""YAML as GitLab reads it, with the place of everything, and nothing that grows without bound."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.nodes import Map, Origin, Reference, Seq
from pipeline.problems import Report
from pipeline.yaml_loader import MAX_FILE_BYTES, load
from protocol.errors import PipelineFileError


def loaded(text: str | bytes, report: Report | None = None) -> Any:
    data = text.encode() if isinstance(text, str) else text
    (document,) = load(data, Origin("f.yml"), report or Report())
    return document


def refused(text: str | bytes) -> str:
    with pytest.raises(PipelineFileError) as raised:
        loaded(text)
    return str(raised.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1), ("-7", -7), ("0755", 493), ("0x1f", 31), ("1_000", 1000), ("08", "08"), ("3.10", 3.1), ("1.", 1.0),
        (".5", 0.5), (".", "."), ("1e3", "1e3"), ("12e3456", "12e3456"), ("1.5e+3", 1500.0), ("1.2.3", "1.2.3"),
        ("yes", True), ("On", True), ("TRUE", True), ("no", False), ("off", False), ("y", "y"), ("~", None), ("", None),
        ("null", None), ("'yes'", "yes"), ('"1"', "1"), ("!!str 1", "1"), ("!!int '1'", 1), ("22:22", "22:22"),
        ("2024-01-01", "2024-01-01"), ("9" * 100, "9" * 100), (".inf", ".inf"), ("! yes", "yes"),
    ],
)  # fmt: skip
def test_scalars_mean_what_they_mean_in_yaml_1_1(written: str, value: object) -> None:
    assert loaded(f"k: {written}")["k"] == value


def test_every_key_and_item_knows_its_line() -> None:
    document = loaded("a: 1\nb:\n  - x\n  - c:\n      d: 2\n")
    assert document.at("b").line == 2
    assert [mark.line for mark in document["b"].marks] == [3, 4]
    assert document["b"][1]["c"].at("d").line == 5


def test_keys_stay_as_they_are_written() -> None:
    assert list(loaded("yes: 1\n1.10: 2\nnull: 3\n")) == ["yes", "1.10", "null"]


def test_merge_keys_count_where_they_stand() -> None:
    text = """
a: &a {x: 1, y: 1}
b: &b {y: 2, z: 2}
list: {<<: [*a, *b]}
two:
  <<: *a
  <<: *b
above:
  <<: *b
  z: own
below:
  z: own
  <<: *b
"""
    report = Report()
    document = loaded(text, report)
    assert document["list"] == {"x": 1, "y": 1, "z": 2}
    assert document["two"] == {"x": 1, "y": 2, "z": 2}
    assert document["above"] == {"y": 2, "z": "own"}
    assert document["below"] == {"y": 2, "z": 2}
    assert document["two"].at("x").line == 2
    assert report.warnings == []


def test_a_key_written_twice_counts_the_last_time_and_is_warned_of() -> None:
    report = Report()
    assert loaded("a: 1\nb: 2\na: 3\n", report) == {"a": 3, "b": 2}
    assert [str(warning) for warning in report.warnings] == [
        "f.yml:3: a: is a duplicate of the key in line 1; the last one counts"
    ]


def test_references_are_kept_with_their_place() -> None:
    reference = loaded("a:\n  - !reference [.x, script]\n")["a"][0]
    assert isinstance(reference, Reference)
    assert (reference.path, reference.mark.line) == ((".x", "script"), 2)


def test_aliases_share_what_they_stand_for() -> None:
    document = loaded("a: &a {b: [1]}\nc: *a\n")
    assert isinstance(document["a"], Map)
    assert isinstance(document["a"]["b"], Seq)
    assert document["c"] is document["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: *b", "f.yml:1: alias *b has no anchor &b before it"),
        ("a: &a\n  - *a", "f.yml:2: alias *a refers to a value that contains it"),
        ("a: !secret x", "f.yml:1: unknown YAML tag '!secret'"),
        ("a: !reference []", "f.yml:1: !reference names nothing"),
        ("a:\n  !reference [[x]]", "f.yml:2: !reference takes names, not a list"),
        ("a:\n  ? [b]\n  : c", "f.yml:2: a key must be a string"),
        ("a:\n  <<: 1", "f.yml:2: <<: << takes a mapping or a list of mappings, not a number"),
        ("a: b: c", "f.yml:1: invalid YAML: mapping values are not allowed"),
        ("a:\n\t- b", "f.yml:2: invalid YAML: found character that cannot start any token"),
        ("a: \x01", "f.yml:1: invalid YAML: control characters are not allowed"),
        ("a: [1\n", "f.yml:2: invalid YAML"),
        (
            "a:\n- b\n- 'c\n- d\n",
            "f.yml:5: invalid YAML: found unexpected end of stream, "
            "while scanning a quoted scalar that begins in line 3",
        ),
        (b"a: 1\nb: \xe9\n", "f.yml:2: byte 0xe9 is not UTF-8"),
        (b"\x7fELF\x01\x00\x00", "f.yml:1: the file is binary"),
        ("a: 1\n---\nb: 2\n---\nc: 3\n", "f.yml:1: the file has 3 YAML documents"),
    ],
)
def test_what_is_no_pipeline_yaml_is_refused_with_its_line(text: str | bytes, message: str) -> None:
    with pytest.raises(PipelineFileError) as raised:
        load(text.encode() if isinstance(text, str) else text, Origin("f.yml"), Report())
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("a:\n\tb: c", "indent with spaces, not with tabs"),
        ("a:\n- @b", "quote a value that begins with @"),
        ("ü: `b`", "quote a value that begins with `"),
        ("a: [b, %c]", "quote a value that begins with %"),
        ("a: [*.txt]", "quote a value that begins with *"),
        ("a: {if: !$X}", "quote a value that begins with !"),
        ("a: && b", "quote a value that begins with &"),
        ("a: b: c", "quote a value that contains `: `"),
    ],
)
def test_what_yaml_takes_for_something_else_is_mended_by_quotes(text: str, mend: str) -> None:
    with pytest.raises(PipelineFileError) as raised:
        load(text.encode(), Origin("f.yml"), Report())
    assert str(raised.value).endswith(f"; {mend}")


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    assert "more than 500000 values, with its aliases expanded" in refused("\n".join(lines))


def test_aliases_that_only_nest_are_refused() -> None:
    lines = ["a0: &a0 []"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 100)]
    assert "nested more than 64 deep, with its aliases expanded" in refused("\n".join(lines))


@pytest.mark.parametrize("opening", ["[", "- ", "{a: "], ids=["lists", "block lists", "mappings"])
@pytest.mark.parametrize("depth", [65, 100_000])
def test_deep_nesting_is_refused(opening: str, depth: int) -> None:
    assert "f.yml:1: " in (message := refused(opening * depth))
    assert "nest" in message


def test_a_file_that_is_too_large_is_refused() -> None:
    assert "f.yml: the file is larger than 10 MB" in refused(b"#" * (MAX_FILE_BYTES + 1))


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    assert loaded(b"\xef\xbb\xbfa: 1\r\nb: |\r\n  x\r\n") == {"a": 1, "b": "x\n"}


def test_places_have_the_range_of_what_they_are_about() -> None:
    document = loaded("job:\n  script:\n    - a\n    - {b: 1}\n\n  ünit: [1,\n   2]\n\nother: |\n  text\n")

    def ends(mark: Any) -> tuple[int, ...]:
        return tuple(mark[1:])

    assert ends(document.at("job")) == (1, 1, 1, 4)
    assert ends(document["job"].mark) == (2, 3, 7, 6)  # to its last part, not to the next key
    assert [ends(mark) for mark in document["job"]["script"].marks] == [(3, 7, 3, 8), (4, 7, 4, 13)]
    assert ends(document["job"].at("ünit")) == (6, 3, 6, 7)
    assert ends(document["job"]["ünit"].mark) == (6, 9, 7, 6)
    with pytest.raises(PipelineFileError) as raised:
        loaded("a: 'b\n")
    (problem,) = raised.value.problems
    assert (problem.line, problem.column, problem.end_line, problem.end_column) == (2, 1, 2, 1)
