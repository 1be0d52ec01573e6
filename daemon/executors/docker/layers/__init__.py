"""Project directories that jobs share by copy on write: layers in volumes, filled once, below each job's own view."""
