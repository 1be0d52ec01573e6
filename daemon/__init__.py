"""The worker daemon beside an engine: one loop (`worker.py`), and what its attempts need."""
