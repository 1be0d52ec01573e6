"""Benchmarks of Longshore against the physical limit and its peers: `make bench`. Not imported by Longshore."""
