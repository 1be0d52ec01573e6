"""File transfer into and out of a job's container."""
