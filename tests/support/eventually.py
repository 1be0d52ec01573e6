"""Waiting for what has to come true: one deadline, and a message with the last value that was seen."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

DEADLINE = 60.0
"""Seconds within which anything that a test waits for has to happen, on a machine that is busy with other tests."""
EVERY = 0.02
"""Seconds between the first two looks: short beside what a test takes, long beside what a look costs."""
SLOWER, SELDOM = 0.1, 0.2
"""Later the pause is this part of the time that has passed, and at most so many seconds: looks cost CPU time."""
MOST = 2000
"""Characters that are shown of either end of a long value."""
T = TypeVar("T")


def eventually(
    claim: Callable[[], T],
    *,
    so: Callable[[T], object] = bool,
    within: float = DEADLINE,
    every: float = EVERY,
) -> T:
    """The first value of `claim` that is `so` (true, by default).

    Raises AssertionError with the last value when time is up.
    """
    began = time.monotonic()
    while True:
        value = claim()
        if so(value):
            return value
        passed = time.monotonic() - began
        assert passed < within, _failure(claim, within, value)
        time.sleep(max(every, min(SLOWER * passed, SELDOM)) if every == EVERY else every)


@overload
async def aeventually(
    claim: Callable[[], Awaitable[T]],
    *,
    so: Callable[[T], object] = bool,
    within: float = DEADLINE,
    every: float = EVERY,
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> T: ...


@overload
async def aeventually(
    claim: Callable[[], T],
    *,
    so: Callable[[T], object] = bool,
    within: float = DEADLINE,
    every: float = EVERY,
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> T: ...


async def aeventually(
    claim: Callable[[], Any],
    *,
    so: Callable[[Any], object] = bool,
    within: float = DEADLINE,
    every: float = EVERY,
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Any:
    """As `eventually`, on an event loop; a claim may be a coroutine function. `pause` passes the time between looks."""
    value: object = None
    try:
        async with asyncio.timeout(within) as timer:
            while True:
                looked = claim()
                value = found = await looked if inspect.isawaitable(looked) else looked
                if so(found):
                    return found
                await pause(every)
    except TimeoutError:
        if not timer.expired():
            raise
    raise AssertionError(_failure(claim, within, value))


def _failure(claim: Callable[[], object], within: float, value: object) -> str:
    last = repr(value)
    if len(last) > 2 * MOST:
        last = f"{last[:MOST]} ... {last[-MOST:]}"
    return f"not within {within} s: {claim}, last {last}"
