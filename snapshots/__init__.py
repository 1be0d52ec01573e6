"""Workspaces of git repositories, for whoever submits runs: which history, in which packs, and the objects that a
repository lacks. Reads a user's or a mirror's repository, and never writes to it.
"""
