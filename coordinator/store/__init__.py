"""The coordinator's database: the engine's state across restarts, and history for readers.

`database.py` opens and migrates it, `models.py` defines its tables, `rows.py` converts engine objects to rows and back,
`store.py` is the interface. Logs and blobs are files, see `coordinator/files`.
"""
