"""The process that compiles a child pipeline beside the coordinator, confined: it reads the run's own snapshot and
nothing else. The coordinator starts it by command; see docs/decisions/0022-compiler-beside-the-coordinator.md.
"""
