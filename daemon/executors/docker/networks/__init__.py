"""A pool of networks that jobs reuse, one job at a time."""
