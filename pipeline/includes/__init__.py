"""Included files: where they are, how they are fetched, and which versions a lock file names."""
