"""Upkeep: retention, garbage collection, backup."""
