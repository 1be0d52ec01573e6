"""Measures Longshore, the physical limit and the peers side by side: `make bench`. Nothing of Longshore imports it."""
