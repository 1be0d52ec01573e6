"""What a worker knows of its attempts, and what it decides about them."""
