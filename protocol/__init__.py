"""What Longshore's processes say to each other: statuses, plans, messages, codec, addresses, client.

Imports nothing else of ours. Everything that crosses a socket is a type in this package.
"""

VERSION = "0.1.0"
"""Longshore's, as in pyproject.toml: what is installed is looked up in 4 ms, and by a parser of mail headers."""
PROTOCOL_VERSION = 1
