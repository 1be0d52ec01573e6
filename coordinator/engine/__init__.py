"""The pure heart of the coordinator: messages and times in, rows, frames and events out.

Imports no socket, database, clock or thread. `machine.py` is its face; `server.py` is the only caller in production.
"""
