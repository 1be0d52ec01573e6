"""What a run comes to at its end: what went wrong, and what took long."""
