"""The worker's side of the coordinator's protocol: connection, requests, transfers."""
