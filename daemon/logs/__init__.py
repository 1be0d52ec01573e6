"""A job's log on its way from an executor to the coordinator."""
