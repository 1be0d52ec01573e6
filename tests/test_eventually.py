"""What waits in tests comes to an end, and says what it saw last."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.support.eventually import aeventually, eventually


def test_the_first_value_that_is_so_is_given() -> None:
    count = itertools.count()
    assert eventually(lambda: next(count), so=lambda number: number > 2, every=0) == 3


def test_when_time_is_up_the_last_value_is_shown() -> None:
    with pytest.raises(AssertionError, match=r"not within 0.05 s: .*, last 'not \.\.\. yet'"):
        eventually(lambda: "not ... yet", so=lambda text: text == "there", within=0.05)


async def test_a_claim_may_be_a_coroutine() -> None:
    async def look() -> str:
        await asyncio.sleep(0)
        return "there"

    assert await aeventually(look) == "there"


async def test_a_claim_that_hangs_is_given_up() -> None:
    values = iter([asyncio.sleep(0, "seen"), asyncio.sleep(60)])
    with pytest.raises(AssertionError, match=r"not within 0.1 s: .*, last 'seen'"):
        await aeventually(lambda: next(values), so=lambda value: value is None, within=0.1)


async def test_a_timeout_of_the_claim_itself_is_told_as_such() -> None:
    async def fail() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        await aeventually(fail)
