"""A run's workspace from a git repository: files as they are on disk, index and history, as git packs."""
