"""The `longshore` command: parses arguments, starts processes, talks to a coordinator, prints text or JSON.
The only package that imports all the others. `main.py` is the entry point and imports nothing heavy.
"""
