"""Files on their way into and out of a job's container."""
