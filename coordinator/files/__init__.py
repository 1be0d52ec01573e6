"""What the coordinator keeps beside its database: logs, blobs, the journal."""
