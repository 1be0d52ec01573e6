"""From a run to a directory: downloads a job's archives and unpacks them."""
