"""The coordinator's pure state machine: messages and times in, rows, frames and events out.

Imports no socket, database, clock or thread. `engine.py` is its interface; `server.py` and `handlers.py` call it.
"""
