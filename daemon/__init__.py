"""The worker daemon beside an engine: one loop (`worker.py`) and the parts that run its attempts."""
