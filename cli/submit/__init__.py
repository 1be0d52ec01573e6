"""From a directory to a run: snapshot, variables, compiled plan."""
