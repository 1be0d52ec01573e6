"""A job's log between executor and coordinator: masking, limits, resending."""
