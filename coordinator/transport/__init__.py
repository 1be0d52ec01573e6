"""Sockets: requests in, answers and events out."""
