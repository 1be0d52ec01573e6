"""The protocol between Longshore's processes: statuses, plans, messages, codec, addresses, client.

Imports no other package of Longshore. Everything that crosses a socket is a type in this package.
"""

VERSION = "0.1.0"
"""Longshore's version, as in pyproject.toml. A constant, as reading the installed metadata takes 4 ms."""
PROTOCOL_VERSION = 1
