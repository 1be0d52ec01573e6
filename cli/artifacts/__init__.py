"""Jobs' artifacts on the user's disk: what an archive holds, and its safe unpacking."""
