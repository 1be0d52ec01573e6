"""Threads, timers and mailboxes, independent of jobs."""
