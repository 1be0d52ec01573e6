"""Pipelines of our own and what they must come to, by GitLab's public reference: as plans, and as runs in Docker."""
