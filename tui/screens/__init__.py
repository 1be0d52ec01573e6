"""One screen per file; a screen shows the model and uses the feed client, nothing else."""
