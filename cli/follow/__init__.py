"""Follows a run and its logs until it ends."""
