"""What runs a job. `base` is all that the rest of the daemon may import."""
