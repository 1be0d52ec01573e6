"""A job's report files."""
