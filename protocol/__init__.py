"""What Longshore's processes say to each other: statuses, plans, messages, codec, addresses, client.

Imports nothing else of ours. Everything that crosses a socket is a type in this package.
"""

PROTOCOL_VERSION = 1
