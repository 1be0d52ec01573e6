"""The coordinator's sockets: requests in, replies and events out."""
