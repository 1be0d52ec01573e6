"""State and decisions of a worker about its attempts, and the threads that run them."""
