"""Numbered schema changes, applied in order at start. A released one is never edited."""
