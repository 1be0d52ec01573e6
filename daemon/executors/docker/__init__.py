"""Runs jobs in containers of one Docker engine."""
