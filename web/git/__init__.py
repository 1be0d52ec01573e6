"""Pushes to Longshore itself: git's own http-backend serves them, and its hooks talk to the web server."""
