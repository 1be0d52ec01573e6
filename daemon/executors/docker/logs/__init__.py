"""A container's output: the live stream and the engine's stored log."""
