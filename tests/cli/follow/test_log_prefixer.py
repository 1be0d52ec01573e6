"""How job output is printed: whole lines, no byte lost, never two jobs in a line."""

from __future__ import annotations

import io
import os
import random

from cli.follow.log_prefixer import JobOutput
from protocol.log_lines import LONGEST_LINE


def printed(*, colors: bool = False, names: tuple[str, ...] = ("a", "long")) -> tuple[JobOutput, io.BytesIO]:
    stream = io.BytesIO()
    return JobOutput(stream, list(names), colors=colors), stream


def test_each_line_has_its_jobs_name_before_it() -> None:
    output, stream = printed()
    output.log("a", b"one\ntwo\n")
    output.log("long", b"three\n")
    assert stream.getvalue() == b"a    | one\na    | two\nlong | three\n"


def test_lines_stand_below_each_other_whatever_the_names_are_written_in() -> None:
    output, stream = printed(names=("build", "日本 🚀", "zażółć"))
    output.log("build", b"one\n")
    output.log("日本 🚀", b"two\n")
    output.log("zażółć", b"three\n")
    assert stream.getvalue().decode() == "build   | one\n日本 🚀 | two\nzażółć  | three\n"


def test_a_line_that_comes_in_pieces_is_printed_whole() -> None:
    output, stream = printed()
    output.log("a", b"be")
    output.log("long", b"other\n")
    output.log("a", memoryview(b"gin\nrest"))
    output.end("a")
    output.end("long")
    assert stream.getvalue() == b"long | other\na    | begin\na    | rest\n"


def test_however_a_log_is_cut_its_bytes_come_out_in_order() -> None:
    dice = random.Random(7)
    log = os.urandom(5000).replace(b"\n", b" ") + b"\n" + b"".join(os.urandom(20) + b"\n" for _ in range(500))
    for _ in range(20):
        output, stream = printed(names=("job",))
        start = 0
        while start < len(log):
            end = start + dice.randint(1, 400)
            output.log("job", log[start:end])
            start = end
        output.end("job")
        lines = stream.getvalue().split(b"\n")[:-1]
        assert all(line.startswith(b"job | ") for line in lines)
        assert b"\n".join(line[len(b"job | ") :] for line in lines) == log.removesuffix(b"\n")


def test_a_terminal_gets_text_and_colours_however_a_log_is_cut() -> None:
    log = b"$ make\n\x1b]0;title\x07\x1b[2Jone\x1b[31m red\nstill\x1b[0m\r10%\r20%\nend"
    for size in range(1, len(log)):
        output, stream = printed(colors=True, names=("job",))
        for start in range(0, len(log), size):
            output.log("job", log[start : start + size])
        output.end("job")
        prefix = b"\x1b[36mjob |\x1b[0m "
        assert stream.getvalue() == b"".join(
            prefix + line + b"\n"
            for line in (
                b"\x1b[1;32m$ make\x1b[0m",
                b"one\x1b[31m red\x1b[0m",
                b"\x1b[31m\x1b[0m20%",
                b"end",
            )
        )


def test_a_line_without_end_takes_bounded_memory() -> None:
    output, stream = printed(names=("job",))
    for _ in range(5):
        output.log("job", b"x" * LONGEST_LINE)
    assert stream.getvalue().count(b"x") >= 4 * LONGEST_LINE


def test_commands_stand_out_only_on_a_terminal() -> None:
    output, stream = printed(names=("job",))
    output.log("job", b"$ make\nmade\n")
    assert b"\x1b" not in stream.getvalue()
    output, stream = printed(names=("job",), colors=True)
    output.log("job", b"$ make\nmade\n")
    assert b"\x1b[1;32m$ make\x1b[0m\n" in stream.getvalue()
    assert b" made\n" in stream.getvalue()


def test_a_long_name_leaves_room_for_the_line_on_a_terminal_and_is_whole_in_a_file() -> None:
    name = "integration: [amd64, bookworm, release]"
    for colors in (True, False):
        output, stream = printed(colors=colors, names=(name,))
        output.log(name, b"line\n")
        assert (name.encode() in stream.getvalue()) is not colors
        assert (f"{name[:15]}…{name[-14:]} |".encode() in stream.getvalue()) is colors
