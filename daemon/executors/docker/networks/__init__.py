"""Networks that jobs of one image use one after the other."""
