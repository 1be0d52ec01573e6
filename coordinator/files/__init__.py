"""Files beside the coordinator's database: logs, blobs, the log journal and the owner lock."""
