"""Requests of many connections, which take turns: a busy one delays no other. Knows no message."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

from protocol.errors import ProtocolError

T = TypeVar("T")

MOST_WAITING = 1000
"""Maximum pending requests of one connection; further ones are refused."""


class TurnQueue(Generic[T]):
    """Pending requests, each with the route of its connection."""

    def __init__(self) -> None:
        self._by_route: OrderedDict[bytes, deque[T]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._by_route)

    def add(self, route: bytes, request: T) -> None:
        """Queues a request. Raises ProtocolError if too many of this connection are pending."""
        waiting = self._by_route.setdefault(route, deque())
        if len(waiting) >= MOST_WAITING:
            raise ProtocolError("unavailable", f"this connection already has {MOST_WAITING} pending requests")
        waiting.append(request)

    def take(self) -> tuple[bytes, T]:
        """The next request, with the route for its answer."""
        route, waiting = self._by_route.popitem(last=False)
        request = waiting.popleft()
        if waiting:
            self._by_route[route] = waiting
        return route, request

    def drop(self, route: bytes) -> None:
        """Drops the requests of a closed connection."""
        self._by_route.pop(route, None)

    def drop_key(self, key: bytes) -> None:
        """Drops the requests of all connections of a key."""
        for route in [route for route in self._by_route if route.startswith(key)]:
            del self._by_route[route]
