"""A container's output, live and as the engine has stored it."""
