"""Maintenance: retention, garbage collection, backup."""
