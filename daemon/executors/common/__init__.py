"""What executors share; knows no Docker."""
