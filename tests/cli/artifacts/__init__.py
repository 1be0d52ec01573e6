"""Artifacts on the user's disk."""
