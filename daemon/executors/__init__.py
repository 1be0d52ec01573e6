"""Executors, which run jobs. `base` is their interface; only `docker` knows Docker."""
