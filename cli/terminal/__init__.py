"""This process's terminal, pipes and signals at one end of a command in a job's container."""
