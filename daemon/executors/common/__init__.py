"""Code shared by executors; independent of Docker."""
