"""Report files that a job leaves."""
