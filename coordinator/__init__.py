"""The one process that owns runs and database: server, handlers, queries.

`server.py` is its loop, `handlers.py` what it does with a message.
"""
