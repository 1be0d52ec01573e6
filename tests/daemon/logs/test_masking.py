"""No secret comes out of a masked stream, in no form and however it is cut; and the cuts change no byte."""

from __future__ import annotations

import base64
import itertools
import subprocess
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.logs.masking import MASK, Masker

KEY = "-----BEGIN KEY-----\n" + "\n".join(base64.b64encode(bytes(range(i, i + 48))).decode() for i in range(20)) + "\n"


def masked(masker: Masker, pieces: list[bytes]) -> bytes:
    out: list[bytes] = []
    stream = masker.stream(out.append)
    for piece in pieces:
        stream.write(piece)
    stream.close()
    return b"".join(out)


SECRETS = st.lists(st.text("abc1\n", min_size=4, max_size=9), min_size=1, max_size=4)
TEXTS = st.text("abc1\nx", max_size=80)


@given(SECRETS, TEXTS, st.lists(st.integers(0, 80), max_size=12))
def test_the_pieces_in_which_a_log_comes_change_no_byte_of_it(secrets: list[str], text: str, cuts: list[int]) -> None:
    masker = Masker(secrets)
    data = text.encode()
    ends = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in itertools.pairwise(ends)]
    assert masked(masker, pieces) == masker.whole(data)


@given(SECRETS, TEXTS, TEXTS)
def test_a_secret_never_comes_out(secrets: list[str], before: str, after: str) -> None:
    secret = secrets[0]
    out = masked(Masker(secrets), [byte.encode() for byte in before + secret + after])
    assert secret.strip() == "" or len(secret.strip()) < 4 or secret.strip().encode() not in out


@pytest.mark.parametrize("secret", ["hunter2hunter2", "pass word&é/+%", "abcd1234", 'quo"ted\\secret', KEY])
@pytest.mark.parametrize("before", ["", "x", "xy", "user:"])
def test_every_usual_encoding_is_masked(secret: str, before: str) -> None:
    masker = Masker([secret])
    text = before + secret
    for encoded in (
        text,
        quote(text, safe=""),
        quote_plus(text),
        quote(text, safe="").lower() if secret.islower() else quote(text),
        base64.b64encode(text.encode()).decode(),
        base64.b64encode((text + "\n").encode()).decode(),
        base64.urlsafe_b64encode(text.encode()).decode(),
    ):
        out = masked(masker, [encoded.encode()])
        assert MASK.encode() in out, encoded
        kept = len(out.replace(MASK.encode(), b""))
        assert kept <= len(before) * 3 + 12, (encoded, out)  # what is left of it says nothing


@pytest.mark.parametrize("command", [["base64"], ["base64", "-w64"], ["base64", "-w0"], ["cat"]])
def test_a_long_secret_that_a_tool_breaks_into_lines_is_masked(command: list[str]) -> None:
    printed = subprocess.run(command, input=KEY.encode(), capture_output=True, check=True).stdout
    out = masked(Masker([KEY]), [printed[at : at + 7] for at in range(0, len(printed), 7)])
    assert len(out.replace(MASK.encode(), b"").strip()) < 16


def test_each_line_of_a_secret_is_masked_on_its_own_too() -> None:
    out = masked(Masker([KEY]), [f"+ {KEY.splitlines()[3]} +".encode()])
    assert out == f"+ {MASK} +".encode()


def test_only_what_may_be_a_secret_waits_for_the_next_piece() -> None:
    out: list[bytes] = []
    stream = Masker(["hunter2hunter2"]).stream(out.append)
    stream.write(b"step 1\nhunt")
    assert out == [b"step 1\n"]
    stream.write(b"ing\n")
    assert b"".join(out) == b"step 1\nhunting\n"


def test_masking_keeps_up_with_a_log() -> None:
    """50 secrets, one of them long, cost a log of 8 MB not more than some seconds."""
    masker = Masker([KEY, *(f"secret-number-{number}-of-many" for number in range(50))])
    line = b"2026-11-24 some very ordinary line of output of a build: 0123456789abcdef\n"
    out = masked(masker, [line * 200] * (8_000_000 // (len(line) * 200)))
    assert MASK.encode() not in out


def test_few_held_bytes_may_be_passed_on_before_the_secret_is_complete() -> None:
    out: list[bytes] = []
    stream = Masker(["$ sesame"]).stream(out.append)
    stream.write(b"bash$ ")
    assert b"".join(out) == b"bash"
    stream.flush_short()
    assert b"".join(out) == b"bash$ "
    stream.write(b"ls\n$ ses")
    stream.flush_short()  # too many
    stream.write(b"ame\n")
    stream.close()
    assert b"".join(out) == b"bash$ ls\n[MASKED]\n"
