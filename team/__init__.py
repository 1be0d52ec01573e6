"""The launcher: one process beside the coordinator that turns triggers into runs. A client of the coordinator, with a
key and a role of its own; see docs/decisions/0038-launcher-beside-the-coordinator.md.
"""
