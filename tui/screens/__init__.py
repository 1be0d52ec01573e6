"""One screen per file; a screen shows the model and asks the feed client, nothing else."""
