"""From a folder to a run: snapshot, variables, compiled plan."""
