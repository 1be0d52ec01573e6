"""Runs nothing: every job succeeds at once. For load tests of everything else."""
