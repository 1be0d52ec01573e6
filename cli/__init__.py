"""The `longshore` command: reads arguments, starts processes, talks to a coordinator, prints for people or as JSON.

The only package that knows all the others. `main.py` is the door and imports nothing heavy.
"""
