"""Includes: resolves them to files and merges these; finds the files of this and of other projects."""
