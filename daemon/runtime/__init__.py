"""Threads, timers and mailboxes; knows nothing of jobs."""
