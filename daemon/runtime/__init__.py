"""Threads, timers, mailboxes and eviction, independent of jobs."""
