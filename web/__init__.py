"""The HTTP server for a team, `longshore web`: webhooks, git pushes. A client of the coordinator; knows no database."""
