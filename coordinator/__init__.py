"""The process that owns runs and database: server, handlers, queries.

`server.py` is its loop, `handlers.py` handles each message.
"""
