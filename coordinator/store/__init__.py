"""The coordinator's database: what the engine must still know after a restart, and what readers ask for later.

`database.py` opens and migrates it, `models.py` names its tables, `rows.py` turns engine objects into rows and back,
`store.py` is the face. Knows nothing of sockets; logs and blobs are files and live elsewhere.
"""
