"""Numbered schema migrations, applied in order at the start. A released one is never edited."""
